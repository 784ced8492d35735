"""Warnings that a command's user can do nothing about: kept from the screen, not from log.txt."""

import logging
import logging.handlers

__all__ = ["hide_needless_warnings", "log_hidden_warnings"]

_NEEDLESS = (
    "`torch.jit",  # Detectron2 scripts functions on import
    "torch.meshgrid:",  # Detectron2 lays out anchors without its argument `indexing`
    "`broadcast_buffers` is deprecated",  # what Detectron2 gives to DistributedDataParallel
    "No CUDA runtime is found",
    "pkg_resources is deprecated",  # Detectron2's model zoo imports it
)


def hide_needless_warnings() -> None:
    """Show Python's warnings on the screen, but for those that Detectron2 and PyTorch make alone.

    Meant for command lines, once a process and before Detectron2 is imported. All of them are kept
    for :func:`log_hidden_warnings`.
    """
    logging.captureWarnings(True)
    warnings = logging.getLogger("py.warnings")
    if warnings.handlers:
        return
    kept = _Kept(capacity=0)
    screen = logging.StreamHandler()
    screen.addFilter(lambda record: not _is_needless(record))
    warnings.addHandler(screen)
    warnings.addHandler(kept)
    warnings.propagate = False
    logging.getLogger("torch.utils.cpp_extension").addFilter(
        lambda record: not (_is_needless(record) and kept.handle(record))
    )


def log_hidden_warnings(folder: str, rank: int) -> None:
    """Write the warnings so far, and those from now on, to the log file of a run.

    Args:
        folder: the run's output folder.
        rank: of this process; each has its file, as in ``detectron2.utils.logger.setup_logger``.
    """
    from detectron2.utils.logger import setup_logger

    file = setup_logger(
        folder, distributed_rank=rank, name="scb_d2.warnings", configure_stdout=False
    )
    for handler in logging.getLogger("py.warnings").handlers:
        if isinstance(handler, _Kept) and file.handlers:
            handler.setTarget(file.handlers[0])
            handler.flush()


class _Kept(logging.handlers.MemoryHandler):
    """Keeps every record until it has a target."""

    def shouldFlush(self, record: logging.LogRecord) -> bool:
        return self.target is not None


def _is_needless(record: logging.LogRecord) -> bool:
    return any(needless in record.getMessage() for needless in _NEEDLESS)
