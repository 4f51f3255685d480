"""The section `tracing`: where spans and metrics are sent as OTLP."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from tidegate.config.field_types import BaseUrl, DurationSetting, HeaderName
from tidegate.config.secret import Text
from tidegate.config.section import Section, between, seconds


class TracingSettings(Section):
    """Traces, and metrics by push, as OpenTelemetry's OTLP over HTTP. Needs the extra `otel`."""

    endpoint: BaseUrl | None = Field(
        default=None,
        description="Address of a collector; `/v1/traces` and `/v1/metrics` are added to it. "
        "Without one nothing is traced.",
    )
    headers: dict[HeaderName, Text] = Field(
        default_factory=dict,
        description="Headers for the collector; values may be `env:NAME` or `file:PATH`.",
    )
    sample_ratio: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=1.0, description="Share of the traces begun here that is recorded, 0 to 1."
    )
    follow_client: bool = Field(
        default=True,
        description="Whether the sampled flag of a client's `traceparent` decides. `false`: the "
        "ratio alone, so that no client can record or hide a request.",
    )
    capture_content: bool = Field(
        default=False,
        description="Whether spans hold prompts and answers. They are the secrets of whoever "
        "wrote them: see the guide before you turn this on.",
    )
    semantic_conventions: Literal["latest", "both"] = Field(
        default="latest",
        description="Names of attributes: the newest GenAI conventions, or `both` those and the "
        "ones before (`gen_ai.system`, `gen_ai.usage.prompt_tokens` …).",
    )
    export_metrics: bool = Field(
        default=False, description="Whether the metrics page's figures are pushed as well."
    )
    metrics_interval_s: Annotated[DurationSetting, between(seconds(1), seconds(3600))] = Field(
        default=seconds(60), description="Time between two pushes of metrics."
    )
    service_name: Annotated[str, Field(min_length=1, max_length=255)] = Field(
        default="tidegate", description="`service.name` of everything that is sent."
    )
    resource: dict[str, str] = Field(
        default_factory=dict,
        description="More resource attributes, such as `deployment.environment.name`.",
    )

    @field_validator("headers")
    @classmethod
    def _check_values(cls, headers: dict[str, Text]) -> dict[str, Text]:
        for name, text in headers.items():
            if not text.reveal().isascii():
                raise ValueError(f"the value of {name} must be ASCII")
        return headers
