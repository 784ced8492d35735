"""The trainer of LazyConfigs: the same loop, state and hooks as that of YAML configs."""

import copy
import logging
import weakref
from collections import OrderedDict
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import instantiate
from detectron2.engine import AMPTrainer, DefaultTrainer, SimpleTrainer, default_writers, hooks
from detectron2.engine.train_loop import TrainerBase
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from omegaconf import DictConfig, ListConfig
from torch import nn

from .best_checkpoint import BestCheckpointer
from .distributed import create_ddp
from .lazy_config import test_dataset_name
from .results import report_results

__all__ = ["LazyTrainer"]

logger = logging.getLogger(__name__)


class LazyTrainer(DefaultTrainer):
    """Detectron2's default trainer, with its parts instantiated from a LazyConfig."""

    def __init__(self, cfg: DictConfig) -> None:
        """Build everything that the config describes.

        Args:
            cfg: from :func:`scb_d2.engine.lazy_config.load_lazy_config`.
        """
        # DefaultTrainer's own constructor reads a yacs config.
        TrainerBase.__init__(self)
        train = cfg.train
        model = self.build_model(cfg)
        optimizer_cfg = copy.deepcopy(cfg.optimizer)
        optimizer_cfg.params.model = model
        optimizer = instantiate(optimizer_cfg)
        data_loader = instantiate(cfg.dataloader.train)
        model = create_ddp(model, **train.ddp)
        self._trainer = (AMPTrainer if train.amp.enabled else SimpleTrainer)(
            model, data_loader, optimizer
        )
        self.scheduler = instantiate(cfg.lr_multiplier)
        self.checkpointer = DetectionCheckpointer(
            model, train.output_dir, trainer=weakref.proxy(self)
        )
        self.start_iter = 0
        self.max_iter = train.max_iter
        self.cfg = cfg
        self.register_hooks(self.build_hooks())

    @classmethod
    def build_model(cls, cfg: DictConfig) -> nn.Module:
        model = instantiate(cfg.model).to(cfg.train.device)
        logger.info("Model:\n%s", model)
        return model

    def resume_or_load(self, resume: bool = True) -> None:
        self.checkpointer.resume_or_load(self.cfg.train.init_checkpoint, resume=resume)
        if resume and self.checkpointer.has_checkpoint():
            self.start_iter = self.iter + 1

    def train(self) -> None:
        TrainerBase.train(self, self.start_iter, self.max_iter)

    def build_hooks(self) -> list[hooks.HookBase | None]:
        train = self.cfg.train
        built = [hooks.IterationTimer(), hooks.LRScheduler()]
        if comm.is_main_process():
            built.append(hooks.PeriodicCheckpointer(self.checkpointer, **train.checkpointer))
        if "evaluator" in self.cfg.dataloader:
            built.append(hooks.EvalHook(train.eval_period, lambda: self.test(self.cfg, self.model)))
        if comm.is_main_process():
            if train.best_metric:
                built.append(
                    BestCheckpointer(
                        train.eval_period,
                        self.model,
                        train.output_dir,
                        train.best_metric,
                        train.best_mode,
                    )
                )
            built.append(hooks.PeriodicWriter(self.build_writers(), period=train.log_period))
        return built

    def build_writers(self) -> list[EventWriter]:
        return default_writers(self.cfg.train.output_dir, self.max_iter)

    @classmethod
    def test(cls, cfg: DictConfig, model: nn.Module) -> OrderedDict[str, Any]:
        """Evaluate on ``dataloader.test``, print a table and save it as ``results.json``.

        Returns:
            Metrics by task; empty on all processes but the first.
        """
        evaluator = instantiate(cfg.dataloader.evaluator)
        if isinstance(evaluator, ListConfig):
            evaluator = list(evaluator)
        results = inference_on_dataset(model, instantiate(cfg.dataloader.test), evaluator)
        if comm.is_main_process():
            print_csv_format(results)
            report_results({test_dataset_name(cfg): results}, cfg.train.output_dir)
        return results
