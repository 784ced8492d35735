"""Nested mappings by dotted keys."""

from collections.abc import Mapping
from typing import Any

__all__ = ["flat", "value_at"]


def value_at(node: Any, key: str) -> Any:
    """The value at a dotted key; None where a part of it is missing."""
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots."""
    values: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            values.update(flat(value, f"{prefix}{key}."))
        else:
            values[f"{prefix}{key}"] = value
    return values
