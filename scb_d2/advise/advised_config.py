"""The advice as a config of the user's kind, on top of the user's own."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import yaml

from .finding import Change
from .lazy_settings import LazySettings
from .run import Advice

__all__ = ["advised_config", "given_changes"]

_INDENT = "  "
_FIRST = "# Written by scb-d2 advise: {base} with what is advised; why stands above each key."


def advised_config(advice: Advice, folder: str) -> str:
    """Text of the config.

    Args:
        advice: with at least one change.
        folder: where the file will be.
    """
    settings = advice.situation.settings
    base = os.path.relpath(settings.path, folder)
    changes = [*given_changes(advice), *advice.changes]
    if isinstance(settings, LazySettings):
        return _lazy(base, changes)
    return _yaml(base, changes)


def given_changes(advice: Advice) -> list[Change]:
    """What the user gave behind the command line, as changes."""
    situation = advice.situation
    opts, advised = situation.opts, {change.key for change in advice.changes}
    if isinstance(situation.settings, LazySettings):
        keys = [opt.partition("=")[0].lstrip("+") for opt in opts]
    else:
        keys = list(opts[::2])
    reason = "as given on the command line"
    return [
        Change(key, situation.settings.value(key), reason) for key in keys if key not in advised
    ]


def _yaml(base: str, changes: Sequence[Change]) -> str:
    tree: dict[str, Any] = {}
    for change in changes:
        *groups, name = change.key.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = change
    lines = [_FIRST.format(base=base), f"_BASE_: {_value(base)}", *_lines(tree, 0)]
    return "\n".join(lines) + "\n"


def _lines(tree: dict[str, Any], depth: int) -> list[str]:
    lines, indent, said = [], _INDENT * depth, None
    for name, node in tree.items():
        if isinstance(node, dict):
            lines += [f"{indent}{name}:", *_lines(node, depth + 1)]
        else:
            lines += [f"{indent}# {node.reason}"] * (node.reason != said)
            lines.append(f"{indent}{name}: {_value(node.value)}")
            said = node.reason
    return lines


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        value = list(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def _lazy(base: str, changes: Sequence[Change]) -> str:
    lines = [
        f'"""Written by scb-d2 advise: {base} with what is advised; why stands above each line."""',
        "",
        "from detectron2.config import LazyConfig",
        "",
        f"globals().update(LazyConfig.load_rel({base!r}))",
    ]
    for change in changes:
        lines += [f"# {change.reason}", f"{_place(change.key)} = {change.value!r}"]
    return "\n".join(lines) + "\n"


def _place(key: str) -> str:
    """A dotted key as Python: numbers are indices."""
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", key)
