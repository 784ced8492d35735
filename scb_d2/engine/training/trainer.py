"""The trainer of YAML configs."""

import logging
import os
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.engine import hooks
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import GeneralizedRCNNWithTTA
from detectron2.utils import comm
from torch import nn

from scb_d2.data.mapper import build_mapper
from scb_d2.engine.checkpoint import SafeCheckpointer
from scb_d2.engine.processes import create_ddp
from scb_d2.evaluation.build import build_evaluator
from scb_d2.evaluation.results_table import report_results
from scb_d2.modeling.build import build_model

from .base_trainer import ResumableTrainer
from .hooks import BestCheckpointer, ResumingEvalHook
from .loader import build_train_loader
from .nonfinite import GuardedAMPTrainer, GuardedTrainer
from .parts import with_parts

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


class Trainer(ResumableTrainer):
    """Detectron2's default trainer with scale-balanced models, evaluators and a results file."""

    def __init__(self, cfg: CfgNode) -> None:
        """Build model, data loader, optimizer and hooks; wrap the model for several processes.

        Args:
            cfg: a config with the project's keys, see
                :func:`scb_d2.engine.config.load.load_config`.
        """
        build = with_parts(
            super().__init__,
            AMPTrainer=GuardedAMPTrainer,
            DetectionCheckpointer=SafeCheckpointer,
            SimpleTrainer=GuardedTrainer,
            create_ddp_model=create_ddp,
        )
        build(cfg)
        warn_if_unweighted(cfg, self.model)

    @property
    def seed(self) -> int:
        return self.cfg.SEED

    @property
    def eval_period(self) -> int:
        return self.cfg.TEST.EVAL_PERIOD

    def resume_or_load(self, resume: bool = True) -> None:
        self.resume_run(self.cfg.MODEL.WEIGHTS, resume)

    def train(self) -> Any:
        return self.train_until_patience_ends(super().train)

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        model = build_model(cfg)
        logger.info("Model:\n%s", model)
        return model

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[list[dict]]:
        return build_train_loader(cfg, build_mapper(cfg, True))

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
        test = self.cfg.TEST
        evaluation = ResumingEvalHook(test.EVAL_PERIOD, self._evaluate)
        built = [
            evaluation if isinstance(hook, hooks.EvalHook) else hook
            for hook in super().build_hooks()
        ]
        best = None
        if test.BEST_METRIC and comm.is_main_process():
            best = BestCheckpointer(
                test.EVAL_PERIOD,
                self.model,
                self.cfg.OUTPUT_DIR,
                test.BEST_METRIC,
                test.BEST_MODE,
            )
        return self.hooks_to_resume(built, best, test.PATIENCE)

    def _evaluate(self) -> OrderedDict[str, Any]:
        self._last_eval_results = self.test(self.cfg, self.model)
        return self._last_eval_results

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
