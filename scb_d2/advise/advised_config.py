"""The advice as a config of the user's kind, on top of the user's own."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import yaml

from scb_d2.errors import ConfigError

from .finding import Change
from .lazy_settings import LazySettings
from .run import Advice

__all__ = ["advised_config", "given_changes"]

_INDENT = "  "
_IMPORT = "from detectron2.config import LazyConfig"
_WITH_UPDATE = f"{_IMPORT}\nfrom omegaconf import OmegaConf"
_FIRST = "# Written by scb-d2 advise: {base} with what is advised; why stands above each key."


def advised_config(advice: Advice, folder: str) -> str:
    """Text of the config.

    Args:
        advice: with at least one change.
        folder: where the file will be.
    """
    settings = advice.situation.settings
    base = os.path.relpath(settings.path, folder)
    advised = {change.key for change in advice.changes}
    given = [change for change in given_changes(advice) if change.key not in advised]
    changes = [*given, *advice.changes]
    if isinstance(settings, LazySettings):
        return _lazy(settings, base, changes)
    return _yaml(base, changes)


def given_changes(advice: Advice) -> list[Change]:
    """What the user gave behind the command line, as changes.

    Raises:
        ConfigError: if it takes a key of a LazyConfig away, for which an override has no word.
    """
    settings, opts = advice.situation.settings, advice.situation.opts
    if not isinstance(settings, LazySettings):
        keys = list(opts[::2])
    else:
        keys = [opt.partition("=")[0].lstrip("+") for opt in opts]
        taken_away = [key for key in keys if key.startswith("~")]
        if taken_away:
            raise ConfigError(
                f"{taken_away[0]}: advice cannot be written on top of a key that the command line "
                "takes away; take it out of the config."
            )
    reason = "as given on the command line"
    return [Change(key, settings.value(key), reason) for key in dict.fromkeys(keys)]


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


def _lazy(settings: LazySettings, base: str, changes: Sequence[Change]) -> str:
    body, imports = [], _IMPORT
    for change in changes:
        body.append(f"# {change.reason}")
        if settings.has_place(change.key):
            body.append(f"{_place(change.key)} = {change.value!r}")
        else:
            group, _, rest = change.key.partition(".")
            body.append(f"OmegaConf.update({group}, {rest!r}, {change.value!r})")
            imports = _WITH_UPDATE
    lines = [
        f'"""Written by scb-d2 advise: {base} with what is advised; why stands above each line."""',
        "",
        imports,
        "",
        f"globals().update(LazyConfig.load_rel({base!r}))",
        *body,
    ]
    return "\n".join(lines) + "\n"


def _place(key: str) -> str:
    """A dotted key as Python: numbers are indices."""
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", key)
