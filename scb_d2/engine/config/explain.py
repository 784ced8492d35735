"""What Detectron2 raises on a config's values, as one sentence that names the keys.

Which key is to blame is found by trying, not by reading messages: the key that holds the value
that was looked up in vain, or whose default lets the part be made; of a LazyConfig otherwise the
innermost call that fails.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from detectron2.config import CfgNode, instantiate
from detectron2.modeling import build_backbone
from omegaconf import DictConfig, ListConfig, OmegaConf

from scb_d2.errors import ConfigError
from scb_d2.modeling.class_names import CLASS_KEYS, unknown_class
from scb_d2.utils.user_errors import user_sentence

from .keys import changed_keys, lazy_leaves, plain, value_of, with_value
from .reasons import defaults_of, is_value, made, reasons
from .sample import FEW

__all__ = ["Unexplained", "explained"]

T = TypeVar("T")

_LONGEST = 300
_MARKER = "no such name"


class Unexplained(ConfigError):
    """Something cannot be made, and no value is found to be the reason, at most a whole part."""


def explained(
    what: str,
    make: Callable[[Any], T],
    cfg: CfgNode | DictConfig,
    keys: Sequence[str],
    cheaper: Callable[[Any], Any] | None = None,
) -> T:
    """Make something from a config, or say what is wrong with the config.

    Args:
        what: is made; the start of the sentence, such as "the model".
        make: makes it from a config; called with changed ones where it fails.
        cfg: YAML config or LazyConfig.
        keys: groups of keys, and keys, that it is made from.
        cheaper: makes less from a config; called in place of ``make`` where it fails in the same
            way.

    Raises:
        ConfigError: what was made, of which keys, and what was said; :class:`Unexplained` where no
            key is found. A :class:`scb_d2.errors.UserError` of ``make`` passes.
    """
    try:
        return made(make, cfg)
    except Exception as error:  # whatever a library, or code of the user's own, raises
        sentence = user_sentence(error)
        if sentence is not None and not _lacks_key(error, sentence, cfg, keys):
            raise  # a full disk has one of its own too
        if cheaper is not None and _fails_alike(cheaper, cfg, error):
            make = cheaper
        explanation = _explanation(what, make, cfg, keys, error)
        if sentence is not None and isinstance(explanation, Unexplained):
            raise
        raise explanation from error


def _fails_alike(make: Callable[[Any], Any], cfg: Any, error: Exception) -> bool:
    try:
        made(make, cfg)
    except Exception as other:
        return type(other) is type(error) and _said(other) == _said(error)
    return False


def _lacks_key(error: Exception, sentence: str, cfg: Any, groups: Sequence[str]) -> bool:
    """Whether the sentence is of a value of the config, and does not tell of which."""
    names = [key.rpartition(".")[2] for key in defaults_of(cfg, groups)]
    return isinstance(error, ConfigError) and not any(
        name in sentence for name in names if "_" in name or name.isupper()
    )


def _explanation(
    what: str, make: Callable[[Any], Any], cfg: Any, groups: Sequence[str], error: Exception
) -> ConfigError:
    is_yaml, defaults = isinstance(cfg, CfgNode), defaults_of(cfg, groups)
    if isinstance(error, KeyError) and is_yaml:
        for key in defaults:
            registry = CLASS_KEYS.get(key.removeprefix("MODEL."))
            if registry is not None and value_of(cfg, key) not in registry:
                return ConfigError(unknown_class(key, value_of(cfg, key), registry))
    if is_yaml:
        values = [(key, value_of(cfg, key)) for key in changed_keys(cfg, CfgNode(), groups)]
    else:
        values = [(key, value) for group in groups for key, value in lazy_leaves(cfg, group)]
    keys, maybe = _holders(make, cfg, values, error), list[str]()
    if not keys:
        keys, maybe = reasons(make, cfg, defaults, _said, error)
    if keys:
        kind = ConfigError if is_value(cfg, keys[0]) else Unexplained
        allowed = _allowed(cfg, keys[0], defaults)
        return kind(f"{what} cannot be made with {_named(cfg, keys)}: {_said(error)}{allowed}.")
    if not is_yaml:
        return _innermost(what, cfg, groups, error)
    which = f" ({' or '.join(maybe)} may be the reason)" if maybe else ""
    return Unexplained(
        f"{what} cannot be made of the config's {' and '.join(groups)}{which}: {_said(error)}; "
        "--no-rehearsal shows where."
    )


def _allowed(cfg: Any, key: str, defaults: dict[str, Any]) -> str:
    """What the sentence ends with: feature maps that there are, or the default."""
    is_yaml = isinstance(cfg, CfgNode)
    build = build_backbone if is_yaml else lambda c: instantiate(c.model.backbone)
    found = _features(lambda: build(cfg), key)
    if key == "MODEL.FPN.IN_FEATURES" and not found:
        found = f"; MODEL.RESNETS.OUT_FEATURES is {list(cfg.MODEL.RESNETS.OUT_FEATURES)}"
    if not found and defaults.get(key) not in ("", (), [], None):
        found = f"; the default is {defaults[key]!r}"
    return found


def _innermost(what: str, cfg: DictConfig, groups: Sequence[str], error: Exception) -> Unexplained:
    """A sentence that names the innermost call of a LazyConfig that fails."""
    key, innermost = groups[0], error
    for group in groups:
        found = _innermost_failure(cfg, group, error)
        if found is not None:
            key, innermost = found
            break
    given = ", ".join(
        f"{name} {value!r}"
        for name, value in lazy_leaves(cfg, key)
        if "." not in name.removeprefix(f"{key}.")
    )
    given = f" with {given}" if given else ""
    return Unexplained(
        f"{what} cannot be made of {key}{given}: {_said(innermost)}; --no-rehearsal shows where."
    )


def _holders(
    make: Callable[[Any], Any], cfg: Any, values: Sequence[tuple[str, Any]], error: Exception
) -> list[str]:
    """The key that holds the very value that was looked up in vain.

    With another value there, that one is looked up in vain.
    """
    if not isinstance(error, KeyError) or len(error.args) != 1:
        return []
    missing = error.args[0]
    if isinstance(missing, bool) or not isinstance(missing, (str, int)):
        return []
    marker = _MARKER if isinstance(missing, str) else -987654321
    trial: Any
    for key, value in values:
        if isinstance(value, (list, tuple)) and missing in value:
            trial = type(value)(marker if item == missing else item for item in value)
        elif value == missing and not isinstance(value, bool):
            trial = marker
        else:
            continue
        try:
            made(make, with_value(cfg, key, trial))
        except KeyError as other:
            if other.args == (marker,):
                return [key]
        except Exception:
            continue
    return []


def _innermost_failure(cfg: DictConfig, key: str, error: Exception) -> tuple[str, Exception] | None:
    """The innermost LazyCall that fails in the same way, with what it says."""
    node = OmegaConf.select(cfg, key)
    if isinstance(node, DictConfig):
        names = [str(name) for name in node if name != "_target_"]
        children = [f"{key}.{name}" for name in names if not OmegaConf.is_missing(node, name)]
    elif isinstance(node, ListConfig):
        children = [f"{key}[{i}]" for i in range(len(node))]
    else:
        return None
    for child in children:
        found = _innermost_failure(cfg, child, error)
        if found is not None:
            return found
    if isinstance(node, DictConfig) and "_target_" in node:
        try:
            with torch.device("meta"):
                instantiate(node)
        except Exception as other:
            if type(other) is type(error):
                return key, other
    return None


def _features(backbone: Callable[[], Any], key: str) -> str:
    """What the backbone gives, for a key that names its feature maps."""
    if not key.lower().endswith("in_features"):
        return ""
    try:
        with torch.device("meta"):
            return f"; the backbone gives {', '.join(backbone().output_shape())}"
    except Exception:  # it is the backbone that cannot be made
        return ""


def _named(cfg: Any, keys: Sequence[str]) -> str:
    return " and ".join(f"{key} {plain(value_of(cfg, key))!r}" for key in keys)


def _said(error: Exception) -> str:
    text = " ".join(str(error).replace(FEW, "").split()).rstrip(".!")
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}..."
    tells = len(text.split()) > 2 and not isinstance(error, KeyError)
    return text if tells else f"{type(error).__name__}{f': {text}' if text else ''}"
