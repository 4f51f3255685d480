"""pydantic's complaints as paths and sentences that a person can act on."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from tidegate.config.rules import suggest
from tidegate.config.setting_path import SettingPath

_PLAIN = {
    "missing": "is required",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "too_short": "must not be empty",
}


def problems_of(error: ValidationError, root: type[BaseModel]) -> list[tuple[SettingPath, str]]:
    """Return one `(path, reason)` for each complaint. Values never show: one may be a secret."""
    problems = []
    for item in error.errors(include_url=False, include_input=False):
        path = tuple(part for part in item["loc"] if part != "[key]")
        problems.append((path, _reason(item["type"], item["msg"], item.get("ctx", {}), path, root)))
    return problems


def _reason(
    kind: str, message: str, context: dict[str, Any], path: SettingPath, root: type[BaseModel]
) -> str:
    if kind == "extra_forbidden":
        return "unknown field" + suggest(str(path[-1]), _fields_at(path[:-1], root))
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind == "literal_error":
        return "must be " + str(context["expected"]).replace("'", "")
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind == "greater_than_equal":
        return f"must be at least {context['ge']}"
    if kind == "less_than_equal":
        return f"must be at most {context['le']}"
    return message.replace("Input should be", "must be", 1)


def _fields_at(path: SettingPath, root: type[BaseModel]) -> list[str]:
    """Return the field names of the model that stands at *path*."""
    model: type[BaseModel] | None = root
    for part in path:
        if model is None:
            return []
        field = model.model_fields.get(str(part))
        if field is not None:
            model = model_inside(field.annotation)
        # else: a name in a mapping or an index in a list; the model was found one step before
    return list(model.model_fields) if model else []


def model_inside(annotation: Any) -> type[BaseModel] | None:
    """Return the model in an annotation such as `dict[Name, Model]` or `Model | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        model = model_inside(argument)
        if model is not None:
            return model
    return None
