"""Checks of single arguments: each returns the canonical value or raises ConfigError."""

import math
from collections.abc import Sequence
from numbers import Real

from scb_d2.errors import ConfigError

__all__ = ["check_choice", "check_count", "check_factor", "check_names"]


def check_choice(value: object, allowed: Sequence[str], name: str) -> str:
    """Return ``value`` if it is one of the ``allowed`` strings."""
    if not isinstance(value, str) or value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}; got {value!r}.")
    return value


def check_count(value: object, name: str) -> int:
    """Return ``value`` if it is a whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a whole number above 0; got {value!r}.")
    return value


def check_names(names: object, allowed: Sequence[str], name: str) -> tuple[str, ...]:
    """Return one or more of the ``allowed`` strings, each once; a bare string is one of them."""
    given = (names,) if isinstance(names, str) else names
    # LazyConfigs give lists of their own kind.
    if (
        not isinstance(given, Sequence)
        or len(given) == 0
        or any(x not in allowed for x in given)
        or len(set(given)) < len(given)
    ):
        raise ConfigError(
            f"{name} must name one or more of {', '.join(allowed)}, each once; got {names!r}."
        )
    return tuple(given)


def check_factor(value: object, name: str) -> float:
    """Return ``value`` as a float if it is a finite number above 0."""
    if (
        not isinstance(value, Real)
        or isinstance(value, bool)
        or not math.isfinite(value)
        or value <= 0
    ):
        raise ConfigError(f"{name} must be a finite number above 0; got {value!r}.")
    return float(value)
