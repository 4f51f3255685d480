"""The settings of what the Responses API keeps between requests."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tidegate.config.field_types import DurationSetting, SizeSetting
from tidegate.config.section import Section, between, seconds

_MIB = 1024 * 1024


class ResponsesSettings(Section):
    """What `POST /v1/responses` keeps for later, in `server.data_dir`.

    The API promises that a response can be read and gone on from later, unless the request says
    `store: false`. Where the provider keeps it, only its id and place are remembered; for any
    other provider prompt and answer are kept here.
    """

    store: bool = Field(
        default=True,
        description="Whether prompts and answers may be kept here. Without, `previous_response_id` "
        "works only where the provider keeps responses itself.",
    )
    keep: Annotated[DurationSetting, between(seconds(60), seconds(400 * 86_400))] = Field(
        default=seconds(30 * 86_400),
        description="How long after its last use a response is deleted.",
    )
    max_bytes: Annotated[SizeSetting, Field(ge=_MIB, le=1024 * 1024 * _MIB)] = Field(
        default=1024 * _MIB,
        description="Room for all of them; the longest unused are deleted first. One that is made "
        "in the background may take an eighth, all that are being made a half.",
    )
