"""The trainer of LazyConfigs: the same loop, state and hooks as that of YAML configs."""

import copy
import logging
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from detectron2.config import instantiate
from detectron2.data import build_detection_train_loader
from detectron2.engine import default_writers, hooks
from detectron2.engine.train_loop import TrainerBase
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from omegaconf import DictConfig, ListConfig
from torch import nn

from scb_d2.engine.checkpoint import SafeCheckpointer
from scb_d2.engine.config.lazy import target_of, test_dataset_name
from scb_d2.engine.processes import create_ddp
from scb_d2.evaluation.results_table import report_results
from scb_d2.modeling.build_errors import check_features
from scb_d2.utils.seeding import temporary_seed

from .base_trainer import ResumableTrainer
from .hooks import BestCheckpointer, ResumingEvalHook
from .loader import build_seeded_train_loader
from .nonfinite import GuardedAMPTrainer, GuardedTrainer

__all__ = ["LazyTrainer"]

logger = logging.getLogger(__name__)


class LazyTrainer(ResumableTrainer):
    """Detectron2's default trainer, with its parts instantiated from a LazyConfig."""

    def __init__(self, cfg: DictConfig) -> None:
        """Build everything that the config describes.

        Args:
            cfg: from :func:`scb_d2.engine.config.lazy.load_lazy_config`.
        """
        # DefaultTrainer's own constructor reads a yacs config.
        TrainerBase.__init__(self)
        train = cfg.train
        model = self.build_model(cfg)
        optimizer_cfg = copy.deepcopy(cfg.optimizer)
        optimizer_cfg.params.model = model
        optimizer = instantiate(optimizer_cfg)
        data_loader = self.build_train_loader(cfg)
        model = create_ddp(model, **train.ddp)
        self._trainer = (GuardedAMPTrainer if train.amp.enabled else GuardedTrainer)(
            model, data_loader, optimizer
        )
        self.scheduler = instantiate(cfg.lr_multiplier)
        self.checkpointer = SafeCheckpointer(model, train.output_dir, trainer=weakref.proxy(self))
        self.start_iter = 0
        self.max_iter = train.max_iter
        self.cfg = cfg
        self.register_hooks(self.build_hooks())

    @classmethod
    def build_model(cls, cfg: DictConfig) -> nn.Module:
        model = instantiate(cfg.model).to(cfg.train.device)
        check_features(model)
        logger.info("Model:\n%s", model)
        return model

    @classmethod
    def build_train_loader(cls, cfg: DictConfig) -> Iterable[Any]:
        """The config's own loader; with ``train.seed`` >= 0 Detectron2's gets a seeded twin."""
        loader, seed = cfg.dataloader.train, cfg.train.seed
        if seed < 0:
            return instantiate(loader)
        if target_of(loader) is build_detection_train_loader:
            loader = copy.deepcopy(loader)
            loader._target_ = build_seeded_train_loader
            loader.seed = seed
        with temporary_seed(seed):  # of which samplers take their seeds
            return instantiate(loader)

    @property
    def seed(self) -> int:
        return self.cfg.train.seed

    @property
    def eval_period(self) -> int:
        return self.cfg.train.eval_period

    def resume_or_load(self, resume: bool = True) -> None:
        self.resume_run(self.cfg.train.init_checkpoint, resume)

    def train(self) -> None:
        self.train_until_patience_ends(
            lambda: TrainerBase.train(self, self.start_iter, self.max_iter)
        )

    def build_hooks(self) -> list[hooks.HookBase | None]:
        train = self.cfg.train
        built = [hooks.IterationTimer(), hooks.LRScheduler()]
        if comm.is_main_process():
            built.append(hooks.PeriodicCheckpointer(self.checkpointer, **train.checkpointer))
        if "evaluator" in self.cfg.dataloader:
            built.append(
                ResumingEvalHook(train.eval_period, lambda: self.test(self.cfg, self.model))
            )
        best = None
        if comm.is_main_process():
            built.append(hooks.PeriodicWriter(self.build_writers(), period=train.log_period))
            if train.best_metric:
                best = BestCheckpointer(
                    train.eval_period,
                    self.model,
                    train.output_dir,
                    train.best_metric,
                    train.best_mode,
                )
        return self.hooks_to_resume(built, best, train.patience)

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
