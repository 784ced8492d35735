"""What Detectron2 raises on a config's values, as one sentence that names the keys.

Which key is to blame is found by trying, not by reading messages: the key that holds the value
that was looked up in vain, or whose default lets the part be made; of a LazyConfig the innermost
call that fails.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from detectron2.config import CfgNode, instantiate
from detectron2.modeling import build_backbone
from omegaconf import DictConfig, ListConfig, OmegaConf

from scb_d2.errors import ConfigError
from scb_d2.modeling.class_names import CLASS_KEYS, unknown_class
from scb_d2.projects import get_cfg
from scb_d2.utils.user_errors import user_sentence

from .keys import changed_keys, lazy_leaves, plain, value_of, with_value
from .sample import FEW

__all__ = ["Unexplained", "explained"]

T = TypeVar("T")

_SECONDS = 20.0
_ENOUGH = 2.0
_SHOWN = 2
_MAYBE = 4
_LONGEST = 300
# What is trained on, and where, is there and works: it is no reason.
_NO_REASONS = ("DATASETS.TRAIN", "DATASETS.TEST", "MODEL.DEVICE", "MODEL.WEIGHTS", "OUTPUT_DIR")
_MARKER = "no such name"


class Unexplained(ConfigError):
    """Something cannot be made, and no value is found to be the reason, at most a whole part."""


def explained(
    what: str, make: Callable[[Any], T], cfg: CfgNode | DictConfig, keys: Sequence[str]
) -> T:
    """Make something from a config, or say what is wrong with the config.

    Args:
        what: is made; the start of the sentence, such as "the model".
        make: makes it from a config; called with changed ones where it fails.
        cfg: YAML config or LazyConfig.
        keys: groups of keys, and keys, that it is made from.

    Raises:
        ConfigError: what was made, of which keys, and what was said; :class:`Unexplained` where no
            key is found. A :class:`scb_d2.errors.UserError` of ``make`` passes.
    """
    try:
        return make(cfg)
    except Exception as error:  # whatever a library, or code of the user's own, raises
        if user_sentence(error) is not None:  # a full disk has one of its own
            raise
        if isinstance(cfg, CfgNode):
            raise _yaml_error(what, make, cfg, keys, error) from error
        raise _lazy_error(what, make, cfg, keys, error) from error


def _yaml_error(
    what: str,
    make: Callable[[CfgNode], Any],
    cfg: CfgNode,
    groups: Sequence[str],
    error: Exception,
) -> ConfigError:
    default = get_cfg()
    changed = [key for key in changed_keys(cfg, default, groups) if key not in _NO_REASONS]
    if isinstance(error, KeyError):
        for key in changed:
            registry = CLASS_KEYS.get(key.removeprefix("MODEL."))
            if registry is not None and value_of(cfg, key) not in registry:
                return ConfigError(unknown_class(key, value_of(cfg, key), registry))
    values = [(key, value_of(cfg, key)) for key in changed_keys(cfg, CfgNode(), groups)]
    to_blame, maybe = _holders(make, cfg, values, error), list[str]()
    if not to_blame:
        to_blame, maybe = _to_blame(make, cfg, default, changed, error)
    if not to_blame:
        which = f" ({' or '.join(maybe)} may be the reason)" if maybe else ""
        return Unexplained(
            f"{what} cannot be made of the config's {' and '.join(groups)}{which}: {_said(error)}; "
            "--no-rehearsal shows where."
        )
    key = to_blame[0]
    allowed = _features(lambda: build_backbone(cfg), key)
    if key == "MODEL.FPN.IN_FEATURES" and not allowed:
        allowed = f"; MODEL.RESNETS.OUT_FEATURES is {list(cfg.MODEL.RESNETS.OUT_FEATURES)}"
    if not allowed and value_of(default, key) not in ("", (), [], None):
        allowed = f"; the default is {value_of(default, key)!r}"
    kind = ConfigError if _is_value(cfg, key) else Unexplained
    return kind(f"{what} cannot be made with {_named(cfg, to_blame)}: {_said(error)}{allowed}.")


def _lazy_error(
    what: str,
    make: Callable[[DictConfig], Any],
    cfg: DictConfig,
    groups: Sequence[str],
    error: Exception,
) -> ConfigError:
    values = [(key, value) for group in groups for key, value in lazy_leaves(cfg, group)]
    if holders := _holders(make, cfg, values, error):
        allowed = _features(lambda: instantiate(cfg.model.backbone), holders[0])
        return ConfigError(
            f"{what} cannot be made with {_named(cfg, holders)}: {_said(error)}{allowed}."
        )
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


def _to_blame(
    make: Callable[[CfgNode], Any],
    cfg: CfgNode,
    default: CfgNode,
    candidates: Sequence[str],
    error: Exception,
) -> tuple[list[str], list[str]]:
    """Keys each of whose defaults would do, and those whose defaults fail in another way."""
    repaired, otherwise, until = [], [], time.monotonic() + _SECONDS
    for key in candidates:
        try:
            make(with_value(cfg, key, value_of(default, key)))
        except Exception as other:
            if _said(other) != _said(error):
                otherwise.append(key)
        else:
            repaired.append(key)
        left = until - time.monotonic()
        if left < 0 or (left < _SECONDS - _ENOUGH and _is_value(cfg, key) and key in repaired):
            break
    return _values_first(cfg, repaired)[:_SHOWN], _values_first(cfg, otherwise)[:_MAYBE]


def _values_first(cfg: CfgNode, keys: list[str]) -> list[str]:
    """Without those that switch whole parts, unless there are no others."""
    return [key for key in keys if _is_value(cfg, key)] or keys


def _is_value(cfg: CfgNode, key: str) -> bool:
    return key.removeprefix("MODEL.") not in CLASS_KEYS and not isinstance(value_of(cfg, key), bool)


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
            make(with_value(cfg, key, trial))
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
