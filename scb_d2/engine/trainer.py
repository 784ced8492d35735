"""The trainer of YAML configs."""

import logging
import os
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.engine import DefaultTrainer, hooks
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import GeneralizedRCNNWithTTA
from detectron2.utils import comm
from torch import nn

from ..data.mapper import build_mapper
from ..modeling.build import build_model
from .best_checkpoint import BestCheckpointer
from .distributed import with_cpu_ddp
from .evaluators import build_evaluator
from .results import report_results

__all__ = ["Trainer", "warn_if_unweighted"]

logger = logging.getLogger(__name__)


def warn_if_unweighted(cfg: CfgNode, model: nn.Module) -> None:
    """Warn where ``MODEL.SCB.ENABLED`` is on, but no part of the model weights a loss.

    That happens when the model was built by Detectron2's ``build_model`` instead of
    :func:`scb_d2.build_model`, for example in a subclass that overrides ``build_model``.
    """
    if not cfg.MODEL.SCB.ENABLED:
        return
    if all(getattr(module, "object_weight", None) is None for module in model.modules()):
        logger.warning(
            "MODEL.SCB.ENABLED is True, but no part of %s weights its loss: it trains as stock "
            "Detectron2. Build the model by scb_d2.build_model(cfg).",
            type(model).__name__,
        )


class Trainer(DefaultTrainer):
    """Detectron2's default trainer with scale-balanced models, evaluators and a results file."""

    def __init__(self, cfg: CfgNode) -> None:
        """Build model, data loader, optimizer and hooks; wrap the model for several processes.

        Args:
            cfg: a config with the project's keys, see :func:`scb_d2.engine.setup.load_config`.
        """
        with_cpu_ddp(super().__init__)(cfg)
        warn_if_unweighted(cfg, self.model)

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        model = build_model(cfg)
        logger.info("Model:\n%s", model)
        return model

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[list[dict]]:
        return build_detection_train_loader(cfg, mapper=build_mapper(cfg, True))

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[list[dict]]:
        mapper = build_mapper(cfg, False)
        return build_detection_test_loader(cfg, dataset_name, mapper=mapper)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None
    ) -> DatasetEvaluator:
        return build_evaluator(cfg, dataset_name, output_folder)

    def build_hooks(self) -> list[hooks.HookBase | None]:
        built = super().build_hooks()
        if self.cfg.TEST.BEST_METRIC and comm.is_main_process():
            best = BestCheckpointer(
                self.cfg.TEST.EVAL_PERIOD,
                self.model,
                self.cfg.OUTPUT_DIR,
                self.cfg.TEST.BEST_METRIC,
                self.cfg.TEST.BEST_MODE,
            )
            built.insert(-1, best)  # after the evaluation, before the writers
        return built

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: DatasetEvaluator | list[DatasetEvaluator] | None = None,
        output_dir: str | None = None,
    ) -> OrderedDict[str, Any]:
        """Evaluate on every ``DATASETS.TEST``, print one table and save it as ``results.json``.

        Args:
            cfg: the whole config.
            model: with the weights to evaluate.
            evaluators: as in Detectron2; None builds them from the config.
            output_dir: folder of ``results.json``; ``OUTPUT_DIR`` by default.

        Returns:
            As Detectron2: metrics by task, or by data set and task where there are several.
        """
        results = super().test(cfg, model, evaluators)
        names = cfg.DATASETS.TEST
        if names and comm.is_main_process():
            by_dataset = {names[0]: results} if len(names) == 1 else results
            report_results(by_dataset, output_dir or cfg.OUTPUT_DIR)
        return results

    @classmethod
    def test_with_augmentation(cls, cfg: CfgNode, model: nn.Module) -> OrderedDict[str, Any]:
        """Evaluate with test-time augmentation (``TEST.AUG``); results go to ``inference_TTA``."""
        output_dir = os.path.join(cfg.OUTPUT_DIR, "inference_TTA")
        evaluators = [cls.build_evaluator(cfg, name, output_dir) for name in cfg.DATASETS.TEST]
        results = cls.test(cfg, GeneralizedRCNNWithTTA(cfg, model), evaluators, output_dir)
        return OrderedDict((f"{key}_TTA", value) for key, value in results.items())
