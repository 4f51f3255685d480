"""Settings of one upstream."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from tidegate.config.cloud_settings import AwsSettings, AzureSettings, GoogleSettings
from tidegate.config.field_types import (
    BaseUrl,
    DurationSetting,
    HeaderName,
    Name,
    as_tuple,
    is_token,
)
from tidegate.config.secret import Secret, Text
from tidegate.config.section import Section
from tidegate.config.section import between as _between
from tidegate.config.section import seconds as _s

DialectName = Literal["openai", "responses", "anthropic", "gemini", "bedrock", "cohere"]


class ProviderSettings(Section):
    """One upstream. `tidegate providers` lists the kinds."""

    kind: Name = Field(
        default="", description="Row of the provider table. Default: the provider's own name."
    )
    base_url: BaseUrl | None = Field(
        default=None,
        description="Where its API starts, as in the list of providers: `/v1` included, but for "
        "Anthropic. Default: the kind's own; "
        "`openai-compatible` has none.",
    )
    api_key: Secret | None = Field(
        default=None,
        description="Its credential: `env:NAME` or `file:PATH`. Default: the kind's usual "
        "environment variable, if `base_url` is the kind's own.",
    )
    headers: dict[HeaderName, Text] = Field(
        default_factory=dict,
        description="More headers for each request; values may be `env:NAME` or `file:PATH`.",
    )
    passthrough_models: bool = Field(
        default=True,
        description="Whether clients may ask for any of its models as `<provider>/<model>`.",
    )
    dialects: Annotated[tuple[DialectName, ...] | None, as_tuple, Field(min_length=1)] = Field(
        default=None,
        description="Wire formats that it speaks, the best one first. Default: the kind's own.",
    )
    passthrough: bool = Field(
        default=False,
        description="Whether keys without a list of models may send it any request, below "
        "`/<name>/…`.",
    )
    files: bool = Field(
        default=False,
        description="Whether files and batches go here when a request names no provider.",
    )
    stream_usage: bool | None = Field(
        default=None,
        description="Whether it accepts `stream_options.include_usage`. Default: the kind's own.",
    )
    azure: AzureSettings | None = Field(default=None, description="Of kind `azure` alone.")
    aws: AwsSettings | None = Field(default=None, description="Of kind `bedrock` alone.")
    google: GoogleSettings | None = Field(default=None, description="Of kind `vertex` alone.")
    connect_timeout: Annotated[DurationSetting, _between(_s(0.05), _s(120))] = Field(
        default=_s(5), description="Time for a connection, TLS included."
    )
    first_byte_timeout: Annotated[DurationSetting, _between(_s(0.1), _s(3600))] = Field(
        default=_s(300), description="Time from the request to the first byte of the answer."
    )
    idle_timeout: Annotated[DurationSetting, _between(_s(0.1), _s(3600))] = Field(
        default=_s(120), description="Longest silence inside an answer."
    )
    max_connections: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=1_000, description="Most connections of one worker to it."
    )
    verify_tls: bool = Field(default=True, description="Whether its certificate is checked.")
    proxy: Secret | None = Field(
        default=None,
        description="`http://` proxy to reach it by; may hold a user and password, so `env:` and "
        "`file:` work. Default: `HTTPS_PROXY` or `HTTP_PROXY`, unless `NO_PROXY` names its host.",
    )

    @field_validator("headers")
    @classmethod
    def _check_values(cls, headers: dict[str, Text]) -> dict[str, Text]:
        for name, text in headers.items():
            if not text.reveal().isascii():
                raise ValueError(f"the value of {name} must be ASCII")
        return headers

    @field_validator("api_key")
    @classmethod
    def _check_key(cls, secret: Secret | None) -> Secret | None:
        if secret is not None and not is_token(secret.reveal()):
            raise ValueError("must be visible ASCII without blanks")
        return secret
