"""yacs' and PyYAML's errors as one sentence that names the key or the file."""

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from detectron2.config import CfgNode

from scb_d2.errors import ConfigError, UserError

from .safe_yaml import SafeCfgNode

__all__ = ["key_names", "read_yaml", "readable_merge_errors"]

_UNKNOWN = re.compile(r"Non-existent (?:config )?key: (?P<key>.*)")
_MISMATCH = re.compile(
    r"Type mismatch \((?P<old>.*) vs\. (?P<new>.*)\) with values "
    r"\((?P<old_value>.*) vs\. (?P<value>.*)\) for config key: (?P<key>.*)",
    re.DOTALL,
)


def key_names(cfg: CfgNode, prefix: str = "") -> list[str]:
    """Every key of a config, dotted, groups included."""
    names = []
    for key, value in cfg.items():
        names.append(prefix + key)
        if isinstance(value, CfgNode):
            names.extend(key_names(value, f"{prefix}{key}."))
    return names


def read_yaml(path: str) -> dict[str, Any]:
    """Read a YAML config and what it inherits through ``_BASE_``, without running code in it.

    Raises:
        ConfigError: if a file is missing, is not YAML, or holds no keys.
    """
    try:
        loaded = SafeCfgNode.load_yaml_with_base(path)
    except yaml.constructor.ConstructorError as error:
        problem = f"{error.problem} ({error.problem_mark.name}, line {error.problem_mark.line + 1})"
        raise ConfigError(f"{path} holds what is no plain value: {problem}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {_one_line(error)}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a text file.") from None
    except OSError as error:
        missing = error.filename or str(error)
        role = "the config file" if missing == path else f"the _BASE_ of {path},"
        raise ConfigError(f"cannot read {role} {missing}: {error.strerror}.") from None
    except RecursionError:
        raise ConfigError(f"{path} names itself as its _BASE_.") from None
    except UserError:
        raise
    except (AssertionError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} does not hold config keys: {_one_line(error)}.") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} does not hold config keys and values.")
    return loaded


@contextmanager
def readable_merge_errors(cfg: CfgNode, source: str) -> Iterator[None]:
    """Turn yacs' errors into :class:`ConfigError` while values are merged into ``cfg``.

    Args:
        cfg: the config merged into; its keys are offered for a misspelt one.
        source: where the values come from, for the message.
    """
    try:
        yield
    except UserError as error:
        raise ConfigError(f"{source}: {error}") from None
    except (
        AssertionError,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        yaml.YAMLError,
    ) as error:
        raise ConfigError(f"{source}: {_merge_sentence(cfg, error)}") from None


def _merge_sentence(cfg: CfgNode, error: Exception) -> str:
    text = str(error.args[0]) if error.args else repr(error)
    if unknown := _UNKNOWN.search(text):
        near = difflib.get_close_matches(unknown["key"].upper(), key_names(cfg), n=1)
        return f"{unknown['key']} is not a config key" + (
            f"; did you mean {near[0]}?" if near else "."
        )
    if mismatch := _MISMATCH.search(text):
        old, new = (_type_name(mismatch[group]) for group in ("old", "new"))
        if "CfgNode" in old:
            return f"{mismatch['key']} is a group of keys; got the value {mismatch['value']}."
        if "CfgNode" in new:
            return f"{mismatch['key']} takes a value of type {old}; got a group of keys."
        return f"{mismatch['key']} must be of type {old}; got {mismatch['value']} ({new})."
    return _one_line(error) + "."


def _type_name(text: str) -> str:
    match = re.fullmatch(r"<class '(.*)'>", text)
    return match[1] if match else text


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
