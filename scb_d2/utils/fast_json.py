"""JSON by orjson, where it is installed."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["fast_loads"]


def fast_loads(content: bytes) -> Any:
    """As :func:`json.loads`, but whole numbers beyond 64 bits may come as floats."""
    try:
        import orjson
    except ImportError:
        return json.loads(content)
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:  # NaN, a byte order mark or another encoding than UTF-8
        return json.loads(content)
