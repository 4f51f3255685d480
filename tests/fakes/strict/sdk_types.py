"""Whether JSON is what an SDK's own request types allow: unknown fields are a problem too."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

import pydantic

_LISTS = (list, Iterable, Sequence)
_MAPS = (dict, Mapping)
_WRAPPERS = ("Annotated", "Required", "NotRequired", "ReadOnly")


def problem(value: Any, shape: Any, path: str = "") -> str | None:
    """Return what is wrong with *value* as a *shape*, with its path; None when nothing is."""
    while True:
        origin = get_origin(shape)
        if hasattr(shape, "__metadata__") or str(origin).rpartition(".")[2] in _WRAPPERS:
            shape = get_args(shape)[0]
        elif hasattr(shape, "__value__"):
            shape = shape.__value__
        else:
            break
    if shape in (Any, object):
        return None
    if origin in (Union, types.UnionType):
        return _of_union(value, get_args(shape), path)
    if origin is Literal:
        return None if value in get_args(shape) else f"{path}: {value!r} is not allowed"
    if typing.is_typeddict(shape) or hasattr(shape, "__required_keys__"):
        return _of_object(value, shape, path)
    if origin in _LISTS or shape in _LISTS:
        if not isinstance(value, list):
            return f"{path}: expected a list"
        inner = (get_args(shape) or (Any,))[0]
        found = (problem(item, inner, f"{path}[{at}]") for at, item in enumerate(value))
        return next((each for each in found if each), None)
    if origin in _MAPS or shape in _MAPS:
        if not isinstance(value, dict):
            return f"{path}: expected an object"
        inner = (get_args(shape) or (str, Any))[1]
        found = (problem(item, inner, f"{path}.{name}") for name, item in value.items())
        return next((each for each in found if each), None)
    return _of_plain(value, shape, path)


def _of_plain(value: Any, shape: Any, path: str) -> str | None:
    if isinstance(shape, type) and issubclass(shape, pydantic.BaseModel):
        try:
            shape.model_validate(value)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            return f"{path}.{'.'.join(map(str, first['loc']))}: {first['msg']}"
        return None
    if shape is None or shape is type(None):
        good = value is None
    elif shape is float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
    elif shape is int:
        good = isinstance(value, int) and not isinstance(value, bool)
    else:
        good = shape in (str, bool) and isinstance(value, shape)
    return None if good else f"{path}: {value!r} is no {getattr(shape, '__name__', shape)}"


def _of_union(value: Any, shapes: tuple[Any, ...], path: str) -> str | None:
    found = []
    for shape in shapes:
        wrong = problem(value, shape, path)
        if wrong is None:
            return None
        found.append(wrong)
    # The branch that got furthest into the value is the one that was meant.
    return max(found, key=len)


@cache
def _fields(shape: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a typed dict's fields and the names of those that it needs.

    The packages' annotations are text, which hides `Required` from `__required_keys__`.
    """
    hints = typing.get_type_hints(shape, include_extras=True)
    needed = []
    for name, hint in hints.items():
        mark = str(get_origin(hint)).rpartition(".")[2]
        if mark == "Required" or (mark != "NotRequired" and name in shape.__required_keys__):
            needed.append(name)
    return hints, tuple(needed)


def _of_object(value: Any, shape: Any, path: str) -> str | None:
    if not isinstance(value, dict):
        return f"{path}: expected an object"
    hints, needed = _fields(shape)
    for name in needed:
        if name not in value:
            return f"{path}.{name}: field required"
    for name, item in value.items():
        if name not in hints:
            return f"{path}.{name}: extra inputs are not permitted"
        wrong = problem(item, hints[name], f"{path}.{name}")
        if wrong is not None:
            return wrong
    return None
