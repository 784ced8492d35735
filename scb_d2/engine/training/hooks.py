"""What a run keeps besides parameters and optimizer, to go on as if never interrupted."""

import logging
from collections.abc import Callable
from typing import Any

from detectron2.engine import hooks
from detectron2.engine.train_loop import HookBase
from detectron2.utils import comm
from torch import nn

__all__ = ["LossNormalizers", "ResumingEvalHook"]

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
