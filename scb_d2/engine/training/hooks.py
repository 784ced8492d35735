"""What a run keeps besides parameters and optimizer, its best weights, and when it stops early."""

import logging
import math
from collections.abc import Callable
from typing import Any

from detectron2.engine import hooks
from detectron2.engine.train_loop import HookBase
from detectron2.utils import comm
from torch import nn

from scb_d2.engine.checkpoint import UntaggedCheckpointer

__all__ = [
    "BestCheckpointer",
    "LossNormalizers",
    "Patience",
    "PatienceExhausted",
    "ResumingEvalHook",
]

logger = logging.getLogger(__name__)

_ATTRIBUTE = "loss_normalizer"


class LossNormalizers(HookBase):
    """Saves the moving averages that RetinaNet divides its losses by, each rank's own.

    Detectron2 keeps them as an attribute of the model, outside its state. Here they are part of
    the trainer's; the model's state stays Detectron2's.
    """

    def __init__(self, model: nn.Module, period: int) -> None:
        """Remember the model.

        Args:
            model: as built, not wrapped for several processes.
            period: of checkpoints, in iterations; 0: only at the end.
        """
        self._modules = dict(model.named_modules())
        self._period = period
        self._ranks: list[dict[str, Any]] = []

    def after_step(self) -> None:
        """Gather before a checkpoint, which the first process writes alone."""
        next_iter = self.trainer.iter + 1
        periodic = self._period > 0 and next_iter % self._period == 0
        if periodic or next_iter >= self.trainer.max_iter:
            self.collect()

    def collect(self) -> None:
        """Gather all ranks' values for a checkpoint; to be called by each."""
        self._ranks = comm.gather(self._own())

    def state_dict(self) -> dict[str, Any]:
        ranks = self._ranks if comm.get_world_size() > 1 else [self._own()]
        return {"ranks": ranks} if any(ranks) else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        ranks = state_dict["ranks"]
        if len(ranks) != comm.get_world_size():
            logger.warning(
                "The run had %d processes and now has %d: its batches and loss normalizers differ "
                "from those of an undisturbed run.",
                len(ranks),
                comm.get_world_size(),
            )
        for name, value in ranks[comm.get_rank() % len(ranks)].items():
            if name in self._modules:
                setattr(self._modules[name], _ATTRIBUTE, value)

    def _own(self) -> dict[str, Any]:
        return {
            name: vars(module)[_ATTRIBUTE]
            for name, module in self._modules.items()
            if _ATTRIBUTE in vars(module)
        }


class ResumingEvalHook(hooks.EvalHook):
    """Detectron2's hook, which makes up for an evaluation that a crash has prevented.

    A checkpoint is written before the evaluation of the same iteration.
    """

    def __init__(self, eval_period: int, eval_function: Callable[[], dict | None]) -> None:
        """Args as in Detectron2's hook."""
        super().__init__(eval_period, self._evaluate)
        self._eval_period, self._eval_function = eval_period, eval_function
        self._evaluated = -1

    def before_train(self) -> None:
        done = self.trainer.start_iter - 1
        due = self._eval_period > 0 and self.trainer.start_iter % self._eval_period == 0
        if done >= 0 and due and self.trainer.start_iter < self.trainer.max_iter:
            if self._evaluated == done:
                return
            logger.info("Evaluating iteration %d, after which the run was interrupted.", done)
            self.trainer.storage.iter = done
            self._do_eval()
            self.trainer.storage.iter = self.trainer.start_iter

    def state_dict(self) -> dict[str, Any]:
        return {"evaluated": self._evaluated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._evaluated = state_dict["evaluated"]

    def _evaluate(self) -> dict | None:
        results = self._eval_function()
        self._evaluated = self.trainer.storage.iter
        return results


class BestCheckpointer(hooks.BestCheckpointer):
    """Detectron2's hook, which also looks at the evaluation after the last iteration.

    ``model_best.pth`` holds weights and iteration only; ``last_checkpoint`` keeps naming the file
    that resuming needs. The best value so far is part of the trainer's state.

    Attributes:
        evaluations_since_best: how many evaluations in a row were no better.
    """

    def __init__(
        self, eval_period: int, model: nn.Module, output_dir: str, val_metric: str, mode: str
    ) -> None:
        """Args as in Detectron2's hook, with the model and its folder for a checkpointer."""
        super().__init__(eval_period, UntaggedCheckpointer(model, output_dir), val_metric, mode)
        self._metric = val_metric
        self.evaluations_since_best = 0

    def before_train(self) -> None:
        """Look at an evaluation that was made up for, see :class:`ResumingEvalHook`."""
        if self._metric in self.trainer.storage.latest():
            self._best_checking()

    def after_train(self) -> None:
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self._best_checking()

    def state_dict(self) -> dict[str, Any]:
        return {
            "best_metric": self.best_metric,
            "best_iter": self.best_iter,
            "evaluations_since_best": self.evaluations_since_best,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_metric = state_dict["best_metric"]
        self.best_iter = state_dict["best_iter"]
        self.evaluations_since_best = state_dict.get("evaluations_since_best", 0)

    def _best_checking(self) -> None:
        before = self.best_iter
        super()._best_checking()
        value, _ = self.trainer.storage.latest().get(self._metric, (math.nan, -1))
        if not math.isnan(value):  # which tells nothing of the model
            is_best = self.best_iter != before
            self.evaluations_since_best = 0 if is_best else self.evaluations_since_best + 1


class PatienceExhausted(BaseException):
    """Ends the training loop early; no ``Exception``, which the loop would log as a crash."""


class Patience(HookBase):
    """Ends training after a number of evaluations without a new best value."""

    def __init__(
        self,
        patience: int,
        eval_period: int,
        best: BestCheckpointer | None,
        normalizers: LossNormalizers,
    ) -> None:
        """To be registered on every rank, after ``best``.

        Args:
            patience: how many evaluations in a row may be no better.
            eval_period: in iterations.
            best: keeps count, on the first rank; None on the others.
            normalizers: gathered for the final checkpoint.
        """
        self._patience, self._eval_period = patience, eval_period
        self._best, self._normalizers = best, normalizers

    def before_train(self) -> None:
        self._stop_if_exhausted(self.trainer.start_iter - 1)

    def after_step(self) -> None:
        next_iter = self.trainer.iter + 1
        if next_iter % self._eval_period == 0 and next_iter != self.trainer.max_iter:
            self._stop_if_exhausted(self.trainer.iter)

    def _stop_if_exhausted(self, iteration: int) -> None:
        since_best = 0 if self._best is None else self._best.evaluations_since_best
        if max(comm.all_gather(since_best)) < self._patience:
            return
        logger.info(
            "No better value in %d evaluations: training ends after iteration %d.",
            self._patience,
            iteration,
        )
        self._normalizers.collect()
        self.trainer.iter = iteration
        self.trainer.checkpointer.save("model_final", iteration=iteration)
        raise PatienceExhausted
