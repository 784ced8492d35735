"""Progress of a training in a few short lines, with Detectron2's own log kept in its file."""

import contextlib
import io
import logging
import sys
import time
import warnings
from collections.abc import Iterator
from typing import TextIO

from detectron2.engine import HookBase

__all__ = ["Progress", "duration", "short_console"]

_LOGGERS = ("detectron2", "fvcore", "scb_d2")


def duration(seconds: float) -> str:
    """A time such as ``3 min 05 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class Progress(HookBase):
    """Prints iteration, loss and remaining time every few seconds."""

    def __init__(self, console: TextIO, seconds: float = 10.0) -> None:
        """Keep where and how often to print.

        Args:
            console: stream to print to.
            seconds: least time between two lines.
        """
        self.console = console
        self.seconds = seconds

    def before_train(self) -> None:
        self._start = self._last = time.monotonic()
        if self.trainer.start_iter:
            self._print(f"going on after iteration {self.trainer.start_iter}")

    def after_step(self) -> None:
        now, done = time.monotonic(), self.trainer.iter + 1
        finished = done == self.trainer.max_iter
        if now - self._last < self.seconds and not finished:
            return
        self._last = now
        loss = self.trainer.storage.history("total_loss").median(20)
        share = (self.trainer.max_iter - done) / (done - self.trainer.start_iter)
        left = f", {duration((now - self._start) * share)} left" if not finished else ""
        self._print(f"iteration {done:4d} of {self.trainer.max_iter}, loss {loss:.2f}{left}")
        if finished:
            names = ", ".join(self.trainer.cfg.DATASETS.TEST)
            self._print(f"trained in {duration(now - self._start)}; evaluating on {names} ...")

    def _print(self, text: str) -> None:
        print(f"      {text}", file=self.console, flush=True)


@contextlib.contextmanager
def short_console() -> Iterator[TextIO]:
    """Keep what Detectron2 and pycocotools print off the screen, except for warnings.

    Yields:
        The stream to print to instead of ``sys.stdout``.
    """
    console = sys.stdout
    handler = logging.StreamHandler(console)
    handler.setLevel(logging.WARNING)
    # What weights of a backbone leave as it is, in a list of 20 lines.
    handler.addFilter(lambda record: record.name != "fvcore.common.checkpoint")
    handler.setFormatter(logging.Formatter("      %(levelname)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.meshgrid")
            yield console
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
