"""Whether JSON is what Amazon's own description of an API allows: unknown fields are a problem too.

The description is the one that botocore, Amazon's SDK, is generated from and ships with.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import botocore.session
from botocore.model import OperationModel, Shape
from tests.fakes.strict.wire import is_base64


@cache
def operation(service: str, name: str) -> OperationModel:
    """Return the description of one operation, such as `bedrock-runtime`'s `Converse`."""
    return botocore.session.get_session().get_service_model(service).operation_model(name)


def problem(value: Any, shape: Shape, path: str = "") -> str | None:
    """Return what is wrong with *value* as a *shape*, with its path; None when nothing is.

    Members that travel in the path or a header are not looked for.
    """
    kind = shape.type_name
    if shape.metadata.get("document"):  # any JSON
        return None
    if kind == "structure":
        return _of_structure(value, shape, path)
    if kind in ("list", "map"):
        return _of_many(value, shape, path)
    if kind == "string":
        return _of_text(value, shape, path)
    if kind == "blob":
        good = isinstance(value, str) and is_base64(value)
        return None if good else f"{path}: invalid base64"
    if kind == "boolean":
        return None if isinstance(value, bool) else f"{path}: {value!r} is no boolean"
    return _of_number(value, shape, path)


def _of_structure(value: Any, shape: Shape, path: str) -> str | None:
    if not isinstance(value, dict):
        return f"{path}: expected an object"
    members = {
        member.serialization.get("name", name): member
        for name, member in shape.members.items()
        if member.serialization.get("location") is None
    }
    for name in shape.required_members:
        if name in members and name not in value:
            return f"{path}.{name}: field required"
    if shape.is_tagged_union and len(value) != 1:
        return f"{path}: exactly one member of a union, found {sorted(value)}"
    for name, item in value.items():
        if name not in members:
            return f"{path}.{name}: no such field"
        wrong = problem(item, members[name], f"{path}.{name}")
        if wrong is not None:
            return wrong
    return None


def _of_many(value: Any, shape: Shape, path: str) -> str | None:
    is_list = shape.type_name == "list"
    if not isinstance(value, list if is_list else dict):
        return f"{path}: expected a {shape.type_name}"
    if not _within(len(value), shape):
        return f"{path}: {len(value)} items are too few or too many"
    inner = shape.member if is_list else shape.value
    items = enumerate(value) if is_list else value.items()
    found = (problem(item, inner, f"{path}.{at}") for at, item in items)
    return next((each for each in found if each), None)


def _of_text(value: Any, shape: Shape, path: str) -> str | None:
    if not isinstance(value, str):
        return f"{path}: {value!r} is no string"
    if shape.enum and value not in shape.enum:
        return f"{path}: {value!r} is not allowed"
    if not _within(len(value), shape):
        return f"{path}: {len(value)} characters are too few or too many"
    pattern = shape.metadata.get("pattern")
    if pattern is not None and re.fullmatch(pattern, value) is None:
        return f"{path}: {value!r} has signs that are not allowed"
    return None


def _of_number(value: Any, shape: Shape, path: str) -> str | None:
    wanted = int if shape.type_name in ("integer", "long") else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted):
        return f"{path}: {value!r} is no {shape.type_name}"
    return None if _within(value, shape) else f"{path}: {value!r} is out of range"


def _within(size: float, shape: Shape) -> bool:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    return (least is None or size >= least) and (most is None or size <= most)
