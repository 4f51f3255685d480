"""Changes of a whole request's body that one provider wants, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

Reshape = Callable[[str, bytes], bytes]
"""Operation (`providers.operations`) and body → the body that is sent."""

_VERSION: Final = msgspec.Raw(b'"vertex-2023-10-16"')
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def for_vertex_anthropic(operation: str, body: bytes) -> bytes:
    """Take the model out of a Messages request, which stands in the path, and say the version.

    A request to count tokens keeps it: the path is the same for all models. All other fields
    keep their bytes and their order.
    """
    fields = _decode(body)
    if operation == "anthropic":
        fields.pop("model", None)
    fields["anthropic_version"] = _VERSION
    return _encode(fields)


RESHAPES: Final[Mapping[str, Reshape]] = MappingProxyType(
    {"vertex-anthropic": for_vertex_anthropic}
)
