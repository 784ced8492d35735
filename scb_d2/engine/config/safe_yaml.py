"""YAML configs without code, which Detectron2's own files hold a line of.

Detectron2's model zoo writes RetinaNet's anchor sizes as an expression under the tag
``!!python/object/apply:eval``, for which Detectron2 loads the whole file with PyYAML's unsafe
loader. Here that one expression stands for its value; another one, and every other Python tag, is
refused.
"""

from io import StringIO
from typing import IO, Any

import yaml
from detectron2.config import CfgNode

from scb_d2.errors import ConfigError
from scb_d2.utils.unique_keys import UniqueKeyLoader

__all__ = ["SafeCfgNode", "is_lazy_dump", "load_outline", "load_yaml"]

_EVAL_TAG = "tag:yaml.org,2002:python/object/apply:eval"
_TUPLE_TAG = "tag:yaml.org,2002:python/tuple"

_ZOO_EXPRESSION = "[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [32, 64, 128, 256, 512 ]]"
_ZOO_SIZES = [[x, x * 2 ** (1.0 / 3), x * 2 ** (2.0 / 3)] for x in (32, 64, 128, 256, 512)]


class SafeCfgNode(CfgNode):
    """Detectron2's ``CfgNode`` that reads files, ``_BASE_`` included, without running code."""

    @classmethod
    def _open_cfg(cls, filename: str) -> StringIO:
        with super()._open_cfg(filename) as file:
            content = load_yaml(file)
        if not isinstance(content, dict):
            raise ConfigError(f"{filename} does not hold config keys and values.")
        _check_keys(content, filename)
        return StringIO(yaml.safe_dump(content))


def _check_keys(content: dict[Any, Any], filename: str) -> None:
    for key, value in content.items():
        if not isinstance(key, str):
            raise ConfigError(f"{filename}: a config key must be text; got {key!r}.")
        if isinstance(value, dict):
            _check_keys(value, filename)


def load_yaml(text: str | IO[str]) -> Any:
    """What a YAML text holds; tuples become lists.

    Raises:
        yaml.YAMLError: if it is no YAML, gives a key twice, or holds code.
    """
    return yaml.load(text, _Loader)


class _Loader(UniqueKeyLoader):
    """With tuples and the zoo's expression."""


class _OutlineLoader(_Loader):
    """Leaves None where the file asks for a Python object."""


def _construct_tuple(loader: yaml.SafeLoader, node: yaml.Node) -> list[Any]:
    return loader.construct_sequence(node, deep=True)


def _construct_zoo_sizes(loader: yaml.SafeLoader, node: yaml.Node) -> list[list[float]]:
    expression, *_ = loader.construct_sequence(node) or [""]
    if "".join(str(expression).split()) != "".join(_ZOO_EXPRESSION.split()):
        raise yaml.YAMLError(
            f"code in a config is not run, but for the anchor sizes of Detectron2's zoo: write "
            f"the values that {expression!r} stands for"
        )
    return [list(sizes) for sizes in _ZOO_SIZES]


_Loader.add_constructor(_TUPLE_TAG, _construct_tuple)
_Loader.add_constructor(_EVAL_TAG, _construct_zoo_sizes)
_OutlineLoader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def load_outline(text: str | IO[str]) -> Any:
    """As :func:`load_yaml`, with None where the text asks for a Python object.

    A saved LazyConfig can be looked at by it; nothing of it is run.

    Raises:
        yaml.YAMLError: if it is no YAML.
    """
    return yaml.load(text, _OutlineLoader)


def is_lazy_dump(path: str) -> bool:
    """Whether a YAML file is a saved LazyConfig, whose loading runs code; nothing of it is run."""
    try:
        with open(path, encoding="utf-8") as file:
            content = load_outline(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    model = content.get("model") if isinstance(content, dict) else None
    return isinstance(model, dict) and "_target_" in model
