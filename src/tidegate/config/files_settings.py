"""The settings of objects that live at providers and belong to one key."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tidegate.config.section import Section


class FilesSettings(Section):
    """Files, stores of vectors and other objects that requests name by their ids.

    An id that another key of this gateway has made is always answered with 404.
    """

    unknown_ids: Literal["allow", "refuse"] = Field(
        default="allow",
        description="What becomes of an id that no key is known to own: `allow` passes it on, for "
        "objects that were made at the provider itself; `refuse` answers 404, for keys whose "
        "owners do not trust each other.",
    )
