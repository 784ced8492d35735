"""Keep the weights of the best evaluation."""

from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import hooks
from torch import nn

__all__ = ["BestCheckpointer"]


class _UntaggedCheckpointer(DetectionCheckpointer):
    """Saves weights without naming them as the checkpoint to resume from."""

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        pass


class BestCheckpointer(hooks.BestCheckpointer):
    """Detectron2's hook, which also looks at the evaluation after the last iteration.

    ``model_best.pth`` holds weights and iteration only; ``last_checkpoint`` keeps naming the file
    that resuming needs. The best value so far is part of the trainer's state.
    """

    def __init__(
        self, eval_period: int, model: nn.Module, output_dir: str, val_metric: str, mode: str
    ) -> None:
        """Args as in Detectron2's hook, with the model and its folder for a checkpointer."""
        super().__init__(eval_period, _UntaggedCheckpointer(model, output_dir), val_metric, mode)

    def after_train(self) -> None:
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self._best_checking()

    def state_dict(self) -> dict[str, Any]:
        return {"best_metric": self.best_metric, "best_iter": self.best_iter}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_metric = state_dict["best_metric"]
        self.best_iter = state_dict["best_iter"]
