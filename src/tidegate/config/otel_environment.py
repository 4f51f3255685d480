"""What the environment names of OpenTelemetry say about traces.

They are often set for a whole machine, so they only fill what the file leaves out, and count
only where the extra `otel` is installed. A value that cannot be used is warned about, as these
names are not ours to refuse a start over.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from tidegate.config.field_types import check_base_url
from tidegate.config.secret import Text

OTEL_NAMES: Final[dict[str, str]] = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "`tracing.endpoint`",
    "OTEL_EXPORTER_OTLP_HEADERS": "`tracing.headers`: `name=value,name=value`, percent-encoded",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "`http/protobuf` alone is spoken; with any other the endpoint "
    "is left out",
    "OTEL_SERVICE_NAME": "`tracing.service_name`",
    "OTEL_RESOURCE_ATTRIBUTES": "`tracing.resource`: `name=value,name=value`, percent-encoded",
    "OTEL_TRACES_SAMPLER": "`always_on`, `always_off`, `traceidratio`, or one of these after "
    "`parentbased_`: `tracing.sample_ratio` and `tracing.follow_client`",
    "OTEL_TRACES_SAMPLER_ARG": "the ratio of `traceidratio`",
    "OTEL_SDK_DISABLED": "`true`: all of these are left out",
}
"""Variable → what it sets, where the file does not."""

_SPOKEN: Final = "http/protobuf"
_SAMPLERS: Final = ("always_on", "always_off", "traceidratio")


def otel_installed() -> bool:
    """Whether the extra `otel` is there."""
    try:
        return importlib.util.find_spec("opentelemetry.proto") is not None
    except ModuleNotFoundError:
        return False


def add_tracing(raw: dict[str, Any], env: Mapping[str, str]) -> list[str]:
    """Fill the section `tracing` of *raw* from *env*; return warnings."""
    names = [name for name in OTEL_NAMES if env.get(name, "").strip()]
    if not names or env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    section = raw.get("tracing", {})
    if not isinstance(section, dict) or not otel_installed():
        return []
    found, warnings = _found(env)
    if "endpoint" in section or "endpoint" in found:
        # Names alone ask for nothing: without an endpoint there is nothing to set.
        raw["tracing"] = {**found, **section}
    return warnings


def _found(env: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    found: dict[str, Any] = {}
    warnings: list[str] = []
    protocol = env.get("OTEL_EXPORTER_OTLP_PROTOCOL", "").strip() or _SPOKEN
    endpoint = env.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()
    if endpoint and protocol != _SPOKEN:
        warnings.append(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is not used: only {_SPOKEN} is spoken, and "
            "OTEL_EXPORTER_OTLP_PROTOCOL asks for something else"
        )
    elif endpoint:
        try:
            found["endpoint"] = check_base_url(endpoint)
        except ValueError as error:
            warnings.append(f"OTEL_EXPORTER_OTLP_ENDPOINT is not used: it {error}")
    headers = _pairs(env, "OTEL_EXPORTER_OTLP_HEADERS", warnings)
    if headers:
        source = "env:OTEL_EXPORTER_OTLP_HEADERS"
        found["headers"] = {name: Text(value, source) for name, value in headers.items()}
    resource = _pairs(env, "OTEL_RESOURCE_ATTRIBUTES", warnings)
    name = env.get("OTEL_SERVICE_NAME", "").strip() or resource.pop("service.name", "")
    if name:
        found["service_name"] = name[:255]
    if resource:
        found["resource"] = resource
    _add_sampler(found, env, warnings)
    return found, warnings


def _pairs(env: Mapping[str, str], variable: str, warnings: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in env.get(variable, "").split(","):
        name, equals, value = part.partition("=")
        name, value = unquote(name.strip()), unquote(value.strip())
        if (
            equals
            and name
            and value.isprintable()
            and (value.isascii() or "HEADERS" not in variable)
        ):
            pairs[name] = value
        elif part.strip():
            warnings.append(f"{variable} is not used in full: it is a list of name=value")
    return pairs


def _add_sampler(found: dict[str, Any], env: Mapping[str, str], warnings: list[str]) -> None:
    sampler = env.get("OTEL_TRACES_SAMPLER", "").strip()
    if not sampler:
        return
    kind = sampler.removeprefix("parentbased_")
    if kind not in _SAMPLERS:
        warnings.append("OTEL_TRACES_SAMPLER is not used: it is no sampler that is known here")
        return
    ratio = {"always_on": 1.0, "always_off": 0.0}.get(kind)
    if ratio is None:
        try:
            ratio = float(env.get("OTEL_TRACES_SAMPLER_ARG", "").strip() or "1")
        except ValueError:
            ratio = -1.0
        if not 0.0 <= ratio <= 1.0:
            warnings.append("OTEL_TRACES_SAMPLER_ARG is not used: it must be from 0 to 1")
            ratio = 1.0
    found["sample_ratio"] = ratio
    found["follow_client"] = sampler != kind
