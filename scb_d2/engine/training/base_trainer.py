"""What the trainers of YAML configs and of LazyConfigs share: surviving faults."""

import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from detectron2.engine import DefaultTrainer, hooks
from detectron2.utils import comm

from scb_d2.engine.checkpoint import clean_run_folder, find_checkpoint
from scb_d2.errors import RunError
from scb_d2.utils.seeding import seed_random_state

from .hooks import BestCheckpointer, LossNormalizers, Patience, PatienceExhausted
from .loader import skip_batches
from .nonfinite import keep_state

__all__ = ["ResumableTrainer"]

logger = logging.getLogger(__name__)

_DEAD_WORKER = re.compile(r"DataLoader worker \(.*\) (is killed|exited)")


class ResumableTrainer(DefaultTrainer):
    """Detectron2's default trainer, which can be killed and resumed as if nothing had happened.

    With a seed >= 0 on CPUs the resumed run gives the same bits; see docs/robustness.md.
    """

    @property
    def seed(self) -> int:
        """Seed of everything random; negative: not reproducible, as in Detectron2."""
        raise NotImplementedError

    def resume_run(self, weights: str, resume: bool) -> None:
        """Load the run's own last whole checkpoint, or ``weights`` where there is none.

        Args:
            weights: to start from, as in Detectron2.
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
            self.checkpointer.load(weights, checkpointables=[])

    def hooks_to_resume(
        self, built: list[hooks.HookBase | None], best: BestCheckpointer | None, patience: int
    ) -> list[hooks.HookBase | None]:
        """Add what keeps best value, patience and loss normalizers in the trainer's state.

        Args:
            built: all other hooks; the last one writes metrics on the first rank.
            best: keeps the best weights; None where that is off, and on other ranks.
            patience: evaluations without a new best value to stop after; 0: never.
        """
        period = max(
            (h.period for h in built if isinstance(h, hooks.PeriodicCheckpointer)), default=0
        )
        normalizers = LossNormalizers(
            getattr(self.model, "module", self.model), max(comm.all_gather(period))
        )
        if best is not None:
            built.insert(-1, best)  # after the evaluation, before the writers
        built.insert(0, normalizers)  # before the checkpoints
        if patience > 0:
            built.append(Patience(patience, self.eval_period, best, normalizers))
        return built

    @property
    def eval_period(self) -> int:
        """Iterations between evaluations."""
        raise NotImplementedError

    def run_step(self) -> None:
        if self.seed >= 0:
            seed_random_state(self.seed, comm.get_rank(), self.iter)
        # An optimizing JIT may round a function's first calls otherwise than later ones.
        exact = torch.jit.optimized_execution(False) if self.seed >= 0 else nullcontext()
        with self._dead_workers_named(), exact:
            try:
                super().run_step()
            except FloatingPointError as error:
                batch = self._trainer.batch
                raise keep_state(error, self.iter, batch, self.checkpointer) from error

    def after_step(self) -> None:
        with self._dead_workers_named():
            super().after_step()

    @contextmanager
    def _dead_workers_named(self) -> Iterator[None]:
        """One sentence for a data loader's process that died, which is noticed at any moment."""
        try:
            yield
        except (RuntimeError, ConnectionError, EOFError) as error:
            reason = " ".join(str(error).split())
            if not isinstance(error, RuntimeError):  # it died while it handed a batch over
                reason = f"DataLoader worker closed its connection ({reason})."
            elif not _DEAD_WORKER.search(reason):
                raise
            raise RunError(
                f"Training stopped at iteration {self.iter} because a data loader's process died: "
                f"{reason} Go on with --resume, with fewer workers if memory ran out."
            ) from error

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

    def train_until_patience_ends(self, train: Callable[[], object]) -> object:
        """Call ``train``; the end of patience is a normal end."""
        try:
            with self._dead_workers_named():  # the signal may come as late as in after_train
                return train()
        except PatienceExhausted:
            return None
