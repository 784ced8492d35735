"""Which class of Detectron2 each of ours stands for."""

from detectron2.utils.registry import Registry

__all__ = ["is_twin", "stock_class", "twins"]

_PACKAGE = __name__.rpartition(".")[0]


def is_twin(known: object) -> bool:
    """Whether a class of this package differs from its Detectron2 base in training only."""
    if not isinstance(known, type) or not known.__module__.startswith(f"{_PACKAGE}."):
        return False
    return any(base.__module__.startswith("detectron2.") for base in known.__mro__)


def stock_class(ours: type) -> type:
    """The Detectron2 class that one of ours stands for: its first base there."""
    return next(base for base in ours.__mro__ if base.__module__.startswith("detectron2."))


def twins(registry: Registry) -> dict[str, str]:
    """Names of the stock classes that a registry holds a twin of -> the twins' names."""
    return {stock_class(known).__name__: name for name, known in registry if is_twin(known)}
