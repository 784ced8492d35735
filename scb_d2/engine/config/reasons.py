"""Which values of a config are the reason for what cannot be made: found by trying their defaults.

The default of a YAML key is Detectron2's or this package's; that of a LazyConfig's argument stands
in the signature of what it is given to.
"""

import inspect
import re
import time
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from detectron2.config import CfgNode
from omegaconf import DictConfig

from scb_d2.engine.training.parts import parts_of
from scb_d2.modeling.class_names import CLASS_KEYS
from scb_d2.projects import get_cfg
from scb_d2.utils.seeding import temporary_seed

from .keys import changed_keys, lazy_calls, plain, target_of, value_of, with_value

__all__ = ["defaults_of", "is_value", "made", "meta_model", "reasons"]

_SECONDS, _MORE_SECONDS = 8.0, 2.0
_SHOWN = 2
_MAYBE = 4
# What is trained on, and where, is there and works: it is no reason.
_NO_REASONS = ("DATASETS.TRAIN", "DATASETS.TEST", "MODEL.DEVICE", "MODEL.WEIGHTS", "OUTPUT_DIR")


def made(make: Callable[[Any], Any], cfg: Any) -> Any:
    """What is made of a config, always from the same random numbers."""
    with temporary_seed(0):
        return make(cfg)


def defaults_of(cfg: CfgNode | DictConfig, groups: Sequence[str]) -> dict[str, Any]:
    """The defaults of the keys, in these groups, that have other values.

    Args:
        cfg: YAML config or LazyConfig.
        groups: groups of keys, and keys.
    """
    if isinstance(cfg, CfgNode):
        default = get_cfg()
        keys = [key for group in groups for key in changed_keys(cfg, default, (group,))]
        keys = [key for key in dict.fromkeys(keys) if key not in _NO_REASONS]
        return {key: value_of(default, key) for key in keys}
    found = {}
    for call in (call for group in groups for call in lazy_calls(cfg, group)):
        for name, parameter in _parameters(call, cfg).items():
            key, default = f"{call}.{name}", parameter.default
            if name not in value_of(cfg, call) or default is inspect.Parameter.empty:
                continue
            value = plain(value_of(cfg, key))
            if _is_plain(value) and value != default:
                found[key] = default
    return found


def _is_plain(value: Any) -> bool:
    """Whether it is no part that is made itself, nor a list of such."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return isinstance(value, bool | int | float | str)


def _parameters(call: str, cfg: DictConfig) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(target_of(value_of(cfg, call))).parameters)
    except (TypeError, ValueError):  # Python cannot tell
        return {}


def reasons(
    make: Callable[[Any], Any],
    cfg: CfgNode | DictConfig,
    defaults: dict[str, Any],
    said: Callable[[Exception], str],
    error: Exception,
) -> tuple[list[str], list[str]]:
    """Keys whose defaults would do; where there are none, those that may be the reason.

    Of two wrong values, each of which hides the other, the one that this error comes from. The
    search ends at a value that the error itself tells of.

    Args:
        make: makes something from a config.
        cfg: of which it cannot be made.
        defaults: what to try.
        said: what an error says.
        error: what was raised.
    """
    until = time.process_time() + _SECONDS
    known: dict[frozenset[str], str | None] = {}

    def says(*keys: str) -> str | None:
        """What is raised with the defaults of these keys; None: it can be made."""
        group = frozenset(keys)
        if group not in known:
            try:
                changed = cfg
                for key in keys:
                    changed = with_value(changed, key, defaults[key])
                made(make, changed)
            except Exception as other:
                known[group] = said(other)
            else:
                known[group] = None
        return known[group]

    original = said(error)
    tried = []
    told = {
        key for key in defaults if is_value(cfg, key) and _tells_of(original, value_of(cfg, key))
    }
    for key in sorted(defaults, key=lambda key: (key not in told, not is_value(cfg, key))):
        if time.process_time() > until:
            break
        tried.append(key)
        if says(key) is None:
            if key in told:
                return [key], []
            until = min(until, time.process_time() + _MORE_SECONDS)  # for a likelier one
    repaired = [key for key in tried if says(key) is None]
    if repaired:
        return _likeliest(cfg, repaired, defaults)[:_SHOWN], []
    otherwise = [key for key in tried if says(key) != original]
    values = [key for key in otherwise if is_value(cfg, key)]
    for first, second in product(values, tried):
        if time.process_time() > until:
            break
        if first != second and is_value(cfg, second) and says(first, second) is None:
            return ([first] if says(second) == original else [first, second]), []
    return [], (values or otherwise)[:_MAYBE]


def _tells_of(text: str, value: Any) -> bool:
    """Whether a text has a word or a number of a value that is long enough to be of it alone."""
    if isinstance(value, list | tuple):
        return any(_tells_of(text, item) for item in value)
    word = str(value)
    if isinstance(value, bool) or len(word) < (2 if isinstance(value, str) else 3):
        return False
    return re.search(rf"(?<![\w.]){re.escape(word)}(?![\w.])", text) is not None


def _likeliest(cfg: Any, repaired: list[str], defaults: dict[str, Any]) -> list[str]:
    """The values before the names of parts, those that leave the network as it is, numbers."""
    for better in (
        lambda key: is_value(cfg, key),
        lambda key: _shapes(with_value(cfg, key, defaults[key])) == _shapes(cfg),
        lambda key: not isinstance(value_of(cfg, key), str),
    ):
        if len(repaired) > 1:
            repaired = [key for key in repaired if better(key)] or repaired
    return repaired


def is_value(cfg: Any, key: str) -> bool:
    """Whether a key neither names a class nor switches a part."""
    return key.removeprefix("MODEL.") not in CLASS_KEYS and not isinstance(value_of(cfg, key), bool)


def _shapes(cfg: Any) -> dict[str, torch.Size] | None:
    """Of the network's parameters, whose random values follow from them."""
    try:
        model = meta_model(cfg)
    except Exception:  # it is the network that cannot be made
        return None
    return {name: value.shape for name, value in model.state_dict().items()}


def meta_model(cfg: CfgNode | DictConfig) -> torch.nn.Module:
    """The model without its memory, which tells most and costs little."""
    key = "MODEL.DEVICE" if isinstance(cfg, CfgNode) else "train.device"
    with torch.device("meta"):
        return parts_of(cfg).build_model(with_value(cfg, key, "meta"))
