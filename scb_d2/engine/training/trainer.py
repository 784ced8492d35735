"""The trainer: Detectron2's default one, for YAML configs and LazyConfigs, that survives faults."""

import logging
import os
import sys
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, SimpleTrainer, default_writers, hooks
from detectron2.engine.train_loop import TrainerBase
from detectron2.evaluation import (
    DatasetEvaluator,
    inference_on_dataset,
    print_csv_format,
    verify_results,
)
from detectron2.modeling import GeneralizedRCNNWithTTA
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from detectron2.utils.logger import setup_logger
from torch import nn
from torch.optim import Optimizer

from scb_d2.engine.checkpoint import SafeCheckpointer, clean_run_folder, find_checkpoint
from scb_d2.engine.processes import create_ddp
from scb_d2.evaluation.build import results_folder
from scb_d2.evaluation.results_table import report_results
from scb_d2.utils.seeding import seed_random_state

from .bfloat16 import GuardedBFloat16Trainer, lay_out_for_bfloat16
from .hooks import BestCheckpointer, LossNormalizers, Patience, PatienceExhausted, ResumingEvalHook
from .loader import dead_workers_named, skip_batches
from .nonfinite import GuardedAMPTrainer, GuardedTrainer, keep_state
from .parts import Config, parts_of, run_settings
from .settings import RunSettings

__all__ = ["Trainer", "warn_if_unweighted"]

logger = logging.getLogger(__name__)


def warn_if_unweighted(cfg: Config, model: nn.Module) -> None:
    """Warn where ``MODEL.SCB.ENABLED`` is on, but no part of the model weights a loss.

    That happens when the model was built by Detectron2's ``build_model`` instead of
    :func:`scb_d2.build_model`, for example in a subclass that overrides ``build_model``.
    """
    if not isinstance(cfg, CfgNode) or not cfg.MODEL.SCB.ENABLED:
        return
    if all(getattr(module, "object_weight", None) is None for module in model.modules()):
        logger.warning(
            "MODEL.SCB.ENABLED is True, but no part of %s weights its loss: it trains as stock "
            "Detectron2. Build the model by scb_d2.build_model(cfg).",
            type(model).__name__,
        )


def _trainer_class(settings: RunSettings) -> type[SimpleTrainer]:
    if not settings.amp:
        return GuardedTrainer
    on_cpu = torch.device(settings.device).type == "cpu"
    return GuardedBFloat16Trainer if on_cpu else GuardedAMPTrainer


class Trainer(DefaultTrainer):
    """Detectron2's default trainer, which can be killed and resumed as if nothing had happened.

    With a seed >= 0 on CPUs the resumed run gives the same bits; see docs/robustness.md. Every
    part is made by a ``build_*`` method, which a subclass may override as in Detectron2.
    """

    def __init__(self, cfg: Config) -> None:
        """Build model, data loader, optimizer and hooks; wrap the model for several processes.

        Args:
            cfg: a YAML config with the project's keys, see
                :func:`scb_d2.engine.config.load.load_config`, or a LazyConfig, see
                :func:`scb_d2.engine.config.lazy.load_lazy_config`.
        """
        # DefaultTrainer's constructor names the classes of its parts, so it cannot be told of
        # others.
        TrainerBase.__init__(self)
        if not logging.getLogger("detectron2").isEnabledFor(logging.INFO):
            setup_logger()
        cfg = parts_of(cfg).scaled_to_processes(cfg)
        self.cfg = cfg
        self.settings = settings = run_settings(cfg)

        # Built in this order, which decides what the random numbers go to.
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        trainer_class = _trainer_class(settings)
        if trainer_class is GuardedBFloat16Trainer:
            lay_out_for_bfloat16(model)
        model = create_ddp(model, **settings.ddp)
        self._trainer = trainer_class(model, data_loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = SafeCheckpointer(
            model, settings.output_dir, trainer=weakref.proxy(self)
        )
        self.start_iter, self.max_iter = 0, settings.max_iter
        self.register_hooks(self.build_hooks())
        warn_if_unweighted(cfg, self.model)

    @classmethod
    def build_model(cls, cfg: Config) -> nn.Module:
        model = parts_of(cfg).build_model(cfg)
        logger.info("Model:\n%s", model)
        return model

    @classmethod
    def build_optimizer(cls, cfg: Config, model: nn.Module) -> Optimizer:
        return parts_of(cfg).build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: Config, optimizer: Optimizer) -> Any:
        return parts_of(cfg).build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: Config) -> Iterable[list[dict]]:
        return parts_of(cfg).build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: Config, dataset_name: str) -> Iterable[list[dict]]:
        return parts_of(cfg).build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(
        cls, cfg: Config, dataset_name: str, output_folder: str | None = None
    ) -> DatasetEvaluator | list[DatasetEvaluator]:
        return parts_of(cfg).build_evaluator(cfg, dataset_name, output_folder)

    def build_writers(self) -> list[EventWriter]:
        return default_writers(self.settings.output_dir, self.max_iter)

    def build_hooks(self) -> list[hooks.HookBase | None]:
        """Hooks in Detectron2's order; on the first rank the last one but patience writes metrics.

        The best value, patience and loss normalizers are part of the trainer's state.
        """
        settings, is_main = self.settings, comm.is_main_process()
        best = None
        if settings.best_metric and is_main:
            best = BestCheckpointer(
                settings.eval_period,
                self.model,
                settings.output_dir,
                settings.best_metric,
                settings.best_mode,
            )
        normalizers = LossNormalizers(
            getattr(self.model, "module", self.model), settings.checkpoint_period
        )
        built = [
            normalizers,  # before the checkpoints
            hooks.IterationTimer(),
            hooks.LRScheduler(),
            # Before the checkpoints too, because it changes the model.
            parts_of(self.cfg).build_precise_bn(self.cfg, self.model, self.build_train_loader),
        ]
        if is_main:
            built.append(
                hooks.PeriodicCheckpointer(
                    self.checkpointer, settings.checkpoint_period, settings.max_to_keep
                )
            )
        built += [ResumingEvalHook(settings.eval_period, self._evaluate), best]
        if is_main:
            built.append(hooks.PeriodicWriter(self.build_writers(), period=settings.log_period))
        if settings.patience > 0:
            built.append(Patience(settings.patience, settings.eval_period, best, normalizers))
        return built

    def _evaluate(self) -> OrderedDict[str, Any]:
        self._last_eval_results = self.test(self.cfg, self.model)
        return self._last_eval_results

    def resume_or_load(self, resume: bool = True) -> None:
        """Load the run's own last whole checkpoint, or the config's weights where there is none.

        Args:
            resume: whether to look for a checkpoint at all.
        """
        folder = self.checkpointer.save_dir
        own = ""
        if comm.is_main_process():
            clean_run_folder(folder)
            own = find_checkpoint(folder) if resume else ""
        own = comm.all_gather(own)[0]
        if own:
            self.checkpointer.load(own)
            # The checkpoint stores the iteration that was finished.
            self.start_iter = self.iter + 1
            skip_batches(self._trainer.data_loader, self.start_iter)
        else:
            self.checkpointer.load(self.settings.weights, checkpointables=[])

    def train(self) -> OrderedDict[str, Any] | None:
        """Train to the last iteration, or to the end of patience, which is a normal end too.

        Returns:
            As in Detectron2: the last results where there are expected ones, which they meet.
        """
        try:
            with dead_workers_named(self):  # the signal may come as late as in after_train
                TrainerBase.train(self, self.start_iter, self.max_iter)
        except PatienceExhausted:
            return None
        if not self.settings.expected_results or not comm.is_main_process():
            return None
        verify_results(self.cfg, self._last_eval_results)
        return self._last_eval_results

    def run_step(self) -> None:
        settings, exact = self.settings, nullcontext()
        if settings.seed >= 0:
            seed_random_state(settings.seed, comm.get_rank(), self.iter)
            if torch.device(settings.device).type == "cpu":  # GPUs promise no bits anyway
                # An optimizing JIT may round a function's first calls otherwise than later ones.
                exact = torch.jit.optimized_execution(False)
        with dead_workers_named(self), exact:
            try:
                super().run_step()
            except FloatingPointError as error:
                batch = self._trainer.batch
                raise keep_state(error, self.iter, batch, self.checkpointer) from error

    def after_step(self) -> None:
        with dead_workers_named(self):
            super().after_step()

    def after_train(self) -> None:
        # Resuming a run after its last iteration counts one too many.
        self.iter = min(self.iter, self.max_iter)
        failure = sys.exc_info()[1]
        try:
            super().after_train()
        except Exception:
            # Hooks are not made for a loop that has failed; why it did is what matters.
            if failure is None:
                raise

    @classmethod
    def test(
        cls,
        cfg: Config,
        model: nn.Module,
        evaluators: DatasetEvaluator | list[DatasetEvaluator] | None = None,
        output_dir: str | None = None,
    ) -> OrderedDict[str, Any]:
        """Evaluate on every test data set, print one table and save it as ``results.json``.

        Args:
            cfg: the whole config.
            model: with the weights to evaluate.
            evaluators: one for each data set; None builds them from the config.
            output_dir: folder of ``results.json``; that of the run by default.

        Returns:
            As Detectron2: metrics by task, or by data set and task where there are several.
        """
        names = parts_of(cfg).evaluated_names(cfg)
        if evaluators is None:
            evaluators = [None] * len(names)
        elif isinstance(evaluators, DatasetEvaluator):
            evaluators = [evaluators]
        results = OrderedDict()
        for name, given in zip(names, evaluators, strict=True):
            loader = cls.build_test_loader(cfg, name)
            evaluator = cls.build_evaluator(cfg, name) if given is None else given
            evaluated = parts_of(cfg).evaluated_model(cfg, model)
            results[name] = inference_on_dataset(evaluated, loader, evaluator)
            if comm.is_main_process():
                logger.info("Evaluation results for %s in csv format:", name)
                print_csv_format(results[name])
        if results and comm.is_main_process():
            report_results(results, output_dir or run_settings(cfg).output_dir)
        return results[names[0]] if len(results) == 1 else results

    @classmethod
    def test_with_augmentation(cls, cfg: CfgNode, model: nn.Module) -> OrderedDict[str, Any]:
        """Evaluate with test-time augmentation (``TEST.AUG``); results go to ``inference_TTA``."""
        output_dir, names = os.path.join(cfg.OUTPUT_DIR, "inference_TTA"), cfg.DATASETS.TEST
        folders = [results_folder(output_dir, names, name) for name in names]
        evaluators = [cls.build_evaluator(cfg, *pair) for pair in zip(names, folders, strict=True)]
        results = cls.test(cfg, GeneralizedRCNNWithTTA(cfg, model), evaluators, output_dir)
        return OrderedDict((f"{key}_TTA", value) for key, value in results.items())
