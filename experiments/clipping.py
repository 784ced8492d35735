"""How often gradient clipping acts in each arm: ``python -m experiments.clipping PLAN...``.

Detectron2 clips the gradient of each parameter by itself. Clipping blunts a constant factor on the
loss more than a shape, so a plan that clips must say how often. Trains one seed of every arm for a
while, counts, and adds the plan to results/clipping.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import HookBase

from scb_d2.engine.config.load import load_config
from scb_d2.engine.training.trainer import Trainer
from scb_d2.experiment.plan import TrainingRun, load_plan
from scb_d2.utils.files import atomic_write
from scb_d2.utils.plain_json import to_json

__all__ = ["ClippingCounter", "count_clipping", "main"]

_RESULTS = Path(__file__).resolve().parent / "results" / "clipping.json"


class ClippingCounter(HookBase):
    """Counts gradients whose norm exceeds a limit, before they are clipped."""

    def __init__(self, limit: float) -> None:
        """Build the hook.

        Args:
            limit: `SOLVER.CLIP_GRADIENTS.CLIP_VALUE` of the type `norm`.
        """
        self.limit = limit
        self.iterations = self.acted = self.gradients = self.clipped = 0

    def after_backward(self) -> None:
        found = [p.grad for p in self.trainer.model.parameters() if p.grad is not None]
        over = int((torch.stack(torch._foreach_norm(found)) > self.limit).sum())
        self.iterations += 1
        self.acted += over > 0
        self.gradients += len(found)
        self.clipped += over

    def to_json(self) -> dict[str, Any]:
        """Percentages of the iterations in which a gradient was clipped, and of the gradients."""
        return {
            "iterations": self.iterations,
            "iterations_clipped": round(100 * self.acted / self.iterations, 1),
            "gradients_clipped": round(100 * self.clipped / self.gradients, 2),
        }


def count_clipping(run: TrainingRun, iterations: int) -> dict[str, Any] | None:
    """Train a run's first iterations, at the schedule of the whole, in a temporary folder.

    Returns:
        See :meth:`ClippingCounter.to_json`; None where the config does not clip norms.
    """
    with tempfile.TemporaryDirectory() as folder:
        fixed = ["SEED", run.seed, "OUTPUT_DIR", folder, "DATASETS.TEST", "()"]
        cfg = load_config(str(run.config), [*run.kind.arguments(run.overrides), *fixed])
        clip = cfg.SOLVER.CLIP_GRADIENTS
        if not clip.ENABLED or clip.CLIP_TYPE != "norm":
            return None
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=False)
        trainer.max_iter = min(iterations, trainer.max_iter)
        counter = ClippingCounter(clip.CLIP_VALUE)
        # The inner trainer steps; the outer one's hooks do not see the gradients.
        trainer._trainer.register_hooks([counter])
        trainer.train()
    return counter.to_json()


def main(argv: Sequence[str] | None = None) -> None:
    """Count for all arms of some plans."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plans", nargs="+", metavar="PLAN.yaml")
    parser.add_argument("--iterations", type=int, default=100)
    args = parser.parse_args(argv)
    known = json.loads(_RESULTS.read_text("utf-8")) if _RESULTS.is_file() else {}
    for path in args.plans:
        plan = load_plan(path)
        known[Path(path).stem] = {
            arm: count_clipping(runs[0], args.iterations) for arm, runs in plan.arms.items()
        }
        with atomic_write(_RESULTS, encoding="utf-8") as file:
            file.write(to_json(known))


if __name__ == "__main__":
    main()
