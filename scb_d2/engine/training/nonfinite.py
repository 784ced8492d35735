"""Stop where a loss is not finite, and keep what is needed to find out why."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import AMPTrainer, SimpleTrainer
from detectron2.utils import comm

from scb_d2.engine.checkpoint import UntaggedCheckpointer
from scb_d2.errors import RunError
from scb_d2.utils.files import atomic_write

__all__ = ["GuardedAMPTrainer", "GuardedTrainer", "NonFiniteLoss", "keep_state"]

_SHOWN_IMAGES = 8


class NonFiniteLoss(FloatingPointError):
    """A loss is not finite.

    Attributes:
        losses: value of each loss term on this rank.
    """

    def __init__(self, losses: Mapping[str, float]) -> None:
        super().__init__(f"the loss is not finite ({_terms(losses)})")
        self.losses = dict(losses)


class _Guard:
    """Remembers the batch, and looks at the losses before the optimizer's step."""

    batch: list[dict[str, Any]] = []

    @property
    def _data_loader_iter(self) -> Iterator[list[dict[str, Any]]]:
        return _remembering(self, super()._data_loader_iter)

    def _write_metrics(
        self, loss_dict: Mapping[str, torch.Tensor], *args: Any, **kwargs: Any
    ) -> None:
        # Fetched from the device once: Detectron2 reads the same values for the metrics.
        fetched = {name: value.detach().cpu() for name, value in loss_dict.items()}
        losses = {name: float(value) for name, value in fetched.items()}
        if not math.isfinite(sum(losses.values())):
            raise NonFiniteLoss(losses)
        super()._write_metrics(fetched, *args, **kwargs)


class GuardedTrainer(_Guard, SimpleTrainer):
    """Detectron2's ``SimpleTrainer`` that raises :class:`NonFiniteLoss` on the rank concerned."""


class GuardedAMPTrainer(_Guard, AMPTrainer):
    """Detectron2's ``AMPTrainer`` that raises :class:`NonFiniteLoss` on the rank concerned."""


def _remembering(guard: _Guard, batches: Iterator[Any]) -> Iterator[Any]:
    guard.batch = next(batches)
    yield guard.batch


def keep_state(
    error: FloatingPointError,
    iteration: int,
    batch: list[dict[str, Any]],
    checkpointer: DetectionCheckpointer,
) -> RunError:
    """Write model, trainer and a description of the batch into the run's folder.

    The weights are those before the step. ``last_checkpoint`` keeps its file.

    Args:
        error: what stopped the run.
        iteration: in which it did.
        batch: that iteration's, of this rank.
        checkpointer: of the run.

    Returns:
        The error to raise: one sentence with iteration, loss terms, images and files.
    """
    name = f"nonfinite_{iteration:07d}_rank{comm.get_rank()}"
    folder = checkpointer.save_dir
    images = [_describe(record) for record in batch]
    losses = getattr(error, "losses", None)
    content = {"iteration": iteration, "error": str(error), "losses": losses, "images": images}
    description = os.path.join(folder, f"{name}.json")
    with atomic_write(description, encoding="utf-8") as file:
        json.dump(content, file, indent=1, default=str)
    keeper = UntaggedCheckpointer(
        checkpointer.model, folder, save_to_disk=True, **checkpointer.checkpointables
    )
    keeper.save(name, iteration=iteration)
    named = [f"{image['file_name']} (image_id {image['image_id']!r})" for image in images]
    more = ", ..." if len(named) > _SHOWN_IMAGES else ""
    reason = " ".join(str(error).split()).rstrip(".")
    return RunError(
        f"Training stopped at iteration {iteration}: {reason} for the images "
        f"{', '.join(named[:_SHOWN_IMAGES])}{more}; the weights before that step are in "
        f"{os.path.join(folder, name)}.pth and the batch is described in {description}."
    )


def _describe(record: Mapping[str, Any]) -> dict[str, Any]:
    described = {key: record.get(key) for key in ("file_name", "image_id", "width", "height")}
    if torch.is_tensor(record.get("image")):
        described["input_shape"] = list(record["image"].shape)
    instances = record.get("instances")
    if instances is not None:
        boxes = instances.gt_boxes.tensor
        described["num_objects"] = len(instances)
        described["boxes"] = boxes.tolist()
        described["classes"] = instances.gt_classes.tolist()
    return described


def _terms(losses: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in losses.items())
