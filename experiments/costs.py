"""Expected hours and memory of the recipes: ``python -m experiments.costs``.

One training step on a CPU counts the operations and the tensors kept for the backward pass. Hours
and memory are scaled so that RetinaNet R50-FPN gets what Detectron2's model zoo published for it on
8 V100: 0.205 s per iteration of 16 images and 4.1 GB. Estimates: no recipe was run. Writes
results/costs.json.
"""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import torch
from detectron2.utils.events import EventStorage
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.scenes import batch, config
from scb_d2.experiment.plan import load_plan
from scb_d2.modeling.build import build_model

__all__ = ["cost_of", "main", "saved_bytes"]

_HERE = Path(__file__).resolve().parent
_REFERENCE, _REFERENCE_SECONDS, _REFERENCE_GB = "coco_retinanet", 0.205, 4.1
_IMAGES = 2
# The middle of Detectron2's training sizes 640 to 800, of a 4:3 photograph.
_SIZE = (720, 960)


class saved_bytes:
    """Counts the bytes of different storages that autograd keeps inside the `with` block."""

    def __enter__(self) -> saved_bytes:
        self._seen: dict[int, int] = {}
        self._kept: list[torch.Tensor] = []
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor)
        self._hooks.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._hooks.__exit__(*details)

    @property
    def total(self) -> int:
        """Bytes, parameters and buffers of the model included where autograd keeps them."""
        return sum(self._seen.values())

    def _keep(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        self._seen[storage.data_ptr()] = storage.nbytes()
        self._kept.append(tensor)  # no address is used twice while it is counted
        return tensor


def cost_of(plan: Path) -> dict[str, float]:
    """Operations and memory of a recipe.

    Returns:
        `iterations`, `images_per_gpu`, `runs`; `gflop_per_image` of forward and backward;
        `kept_gib_per_gpu`: what autograd keeps of a GPU's images, and weights, gradients and
        momentum. The framework's own memory and workspaces come on top.
    """
    experiment = load_plan(plan)
    run = next(iter(experiment.arms.values()))[0]
    cfg = config(str(run.config))
    side = cfg.MODEL.SSD.IMAGE_SIZE
    size = (side, side) if "SSD" in cfg.INPUT.MAPPER else _SIZE
    model = build_model(cfg).train()
    own = sum(p.numel() * p.element_size() for p in model.parameters())
    images = batch(_IMAGES, *size)
    with EventStorage(), FlopCounterMode(display=False) as counter:
        with saved_bytes() as kept:
            losses = sum(model(images).values())
        losses.backward()
    activations = (kept.total - own) / _IMAGES
    per_gpu = cfg.SOLVER.IMS_PER_BATCH / run.num_gpus
    return {
        "iterations": cfg.SOLVER.MAX_ITER,
        "images_per_gpu": per_gpu,
        "runs": sum(map(len, experiment.arms.values())),
        "gflop_per_image": counter.get_total_flops() / _IMAGES / 1e9,
        "kept_gib_per_gpu": (activations * per_gpu + 3 * own) / 2**30,
    }


def main() -> None:
    """Measure every recipe and write results/costs.json."""
    found = {}
    for plan in sorted((_HERE / "recipes").glob("*.yaml")):
        found[plan.stem] = cost_of(plan)
        print(plan.stem, found[plan.stem], flush=True)
        gc.collect()
    reference = found[_REFERENCE]
    rate = reference["gflop_per_image"] * reference["images_per_gpu"] / _REFERENCE_SECONDS
    for cost in found.values():
        seconds = cost["gflop_per_image"] * cost["images_per_gpu"] / rate
        cost["seconds_per_iteration"] = seconds
        cost["hours_per_run"] = cost["iterations"] * seconds / 3600
        share = cost["kept_gib_per_gpu"] / reference["kept_gib_per_gpu"]
        cost["gb_per_gpu"] = _REFERENCE_GB * share
    text = json.dumps(found, indent=2) + "\n"
    (_HERE / "results" / "costs.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
