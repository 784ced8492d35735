"""Values in hydra's grammar for overrides, which LazyConfigs take on a command line."""

from typing import Any

__all__ = ["hydra_text"]


def hydra_text(value: Any) -> str:
    """A value as it stands behind ``key=``.

    Args:
        value: a number, text, truth value, None, or lists and dicts of these.
    """
    if isinstance(value, list | tuple):
        return f"[{','.join(map(hydra_text, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{hydra_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, str):
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{quoted}'"
    return str(value)
