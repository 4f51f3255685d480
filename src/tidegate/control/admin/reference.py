"""The page `docs/reference/admin-api.md`, written from the OpenAPI document."""

from __future__ import annotations

from typing import Any

from tidegate.control.admin.openapi import openapi

_HEAD = """\
# Admin API

<!-- Written by `make reference` from the code; change it there. -->

JSON on the control port (`server.control_port`, 8001).
The [live view](../guides/live-view.md) is made of it, and scripts can use it.
Send the admin token as `Authorization: Bearer tga_…`, or exchange it for a cookie.
The same as OpenAPI 3.1: `GET /api/openapi.json`.

Times are Unix milliseconds (`_ms`) or seconds (`_s`).
An error is `{"error": {"code": "…", "message": "…"}}`.

## Endpoints
"""


def render() -> str:
    """Return the page."""
    document = openapi()
    parts = [_HEAD]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(_endpoint(method.upper(), path, operation))
    parts.append("## Objects\n")
    schemas = document["components"]["schemas"]
    parts += [_object(name, schemas[name]) for name in sorted(schemas)]
    return "\n".join(parts)


def _endpoint(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"### {method} {path}", "", f"{operation['summary']}."]
    if "description" in operation:
        lines += ["", operation["description"].replace(" by=", "\n\n- by=")]
    if "parameters" in operation:
        lines += ["", "| parameter | values | default | what |", "|---|---|---|---|"]
        for one in operation["parameters"]:
            schema = one["schema"]
            values = ", ".join(f"`{value}`" for value in schema.get("enum", ()))
            values = values or f"{schema.get('minimum')} to {schema.get('maximum')}"
            lines.append(
                f"| `{one['name']}` | {values} | `{schema['default']}` | {one['description']} |"
            )
    lines += ["", "| status | answer |", "|---:|---|"]
    for status, answer in operation["responses"].items():
        content = answer.get("content", {}).get("application/json")
        name = content["schema"]["$ref"].rpartition("/")[2] if content else ""
        shown = f"{answer['description']} {_link(name)}" if name else answer["description"]
        lines.append(f"| {status} | {shown.strip()} |")
    return "\n".join([*lines, ""])


def _object(name: str, schema: dict[str, Any]) -> str:
    lines = [f"### {name}", "", " ".join(schema.get("description", "").split()), ""]
    lines += ["| field | type |", "|---|---|"]
    lines += [f"| `{key}` | {_type(of)} |" for key, of in schema["properties"].items()]
    return "\n".join([*lines, ""])


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return _link(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if kind == "object":
        return f"object of {_type(schema['additionalProperties'])}"
    return str(kind)


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"
