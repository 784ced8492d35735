"""YAML configs without code, which Detectron2's own files hold a little of.

Detectron2's model zoo writes RetinaNet's anchor sizes as an expression under the tag
``!!python/object/apply:eval``, for which Detectron2 loads the whole file with PyYAML's unsafe
loader. Here such an expression may hold numbers, lists, arithmetic and comprehensions over them,
and is worked out without Python's ``eval``; every other Python tag is refused.
"""

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from typing import IO, Any

import yaml
from detectron2.config import CfgNode

from scb_d2.errors import ConfigError

__all__ = ["SafeCfgNode", "arithmetic", "is_lazy_dump", "load_yaml"]

_EVAL_TAG = "tag:yaml.org,2002:python/object/apply:eval"
_TUPLE_TAG = "tag:yaml.org,2002:python/tuple"
_MAX_ITEMS = 10_000
_MAX_MAGNITUDE = 1e18

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


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
        yaml.YAMLError: if it is no YAML, or holds code.
    """
    return yaml.load(text, _Loader)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with tuples and arithmetic."""


class _OutlineLoader(_Loader):
    """Leaves None where the file asks for a Python object."""


def _construct_tuple(loader: yaml.SafeLoader, node: yaml.Node) -> list[Any]:
    return loader.construct_sequence(node, deep=True)


def _construct_arithmetic(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    (expression,) = loader.construct_sequence(node)
    return arithmetic(expression)


_Loader.add_constructor(_TUPLE_TAG, _construct_tuple)
_Loader.add_constructor(_EVAL_TAG, _construct_arithmetic)
_OutlineLoader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def is_lazy_dump(path: str) -> bool:
    """Whether a YAML file is a saved LazyConfig, whose loading runs code; nothing of it is run."""
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.load(file, _OutlineLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    model = content.get("model") if isinstance(content, dict) else None
    return isinstance(model, dict) and "_target_" in model


def arithmetic(expression: str) -> Any:
    """The value of an expression of numbers, lists, ``+ - * / // % **`` and comprehensions.

    Args:
        expression: for example ``"[x * 2 ** (1.0 / 3) for x in [32, 64]]"``.

    Raises:
        yaml.YAMLError: if it holds anything else, such as a call, or grows beyond all measure.
    """
    try:
        return _value(ast.parse(expression, mode="eval").body, {})
    except (ArithmeticError, SyntaxError, TypeError, ValueError, RecursionError) as error:
        raise yaml.YAMLError(
            f"the expression {expression!r} is not plain arithmetic ({error}); code in a config is "
            "not run"
        ) from None


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=int() | float()):
            return node.value
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, names) for item in items]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(_value(operand, names))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _operate(type(op), _value(left, names), _value(right, names))
        case ast.ListComp(elt=item, generators=[ast.comprehension() as loop]):
            return [_value(item, {**names, **bound}) for bound in _bindings(loop, names)]
    raise ValueError(f"{type(node).__name__} is not allowed")


def _bindings(loop: ast.comprehension, names: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    values = _value(loop.iter, names)
    if not isinstance(loop.target, ast.Name) or loop.ifs or not isinstance(values, list):
        raise ValueError("only 'for x in [...]' is allowed")
    if len(values) > _MAX_ITEMS:
        raise ValueError("the list is too long")
    for value in values:
        yield {loop.target.id: value}


def _operate(operation: type[ast.operator], left: Any, right: Any) -> Any:
    left, right = _number(left), _number(right)
    if operation is ast.Pow and (abs(right) > 64 or abs(left) > 1e6):
        raise ValueError("the power is too large")
    return _number(_BINARY[operation](left, right))


def _number(value: Any) -> int | float:
    if type(value) not in (int, float) or abs(value) > _MAX_MAGNITUDE:
        raise ValueError(f"{value!r} is no number of reasonable size")
    return value
