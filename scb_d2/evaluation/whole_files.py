"""Detectron2's evaluators write their files in place; here these take their place when whole."""

from __future__ import annotations

from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from scb_d2.utils.files import staged_directory

__all__ = ["WholeFiles"]


class WholeFiles(DatasetEvaluator):
    """Mixin before an evaluator of Detectron2 with an `output_dir`, for files that are whole.

    They are written into a folder beside it and moved when the evaluation has ended: after an
    exception, and after a kill at any moment, those of the evaluation before are as they were.
    """

    _output_dir: str | None

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As the evaluator's own; a folder on a remote storage is written to directly."""
        output_dir = self._output_dir
        if not output_dir or "://" in output_dir or not comm.is_main_process():
            return super().evaluate(*args, **kwargs)
        with staged_directory(output_dir, "the folder") as stage:
            self._output_dir = str(stage)
            try:
                return super().evaluate(*args, **kwargs)
            finally:
                self._output_dir = output_dir
