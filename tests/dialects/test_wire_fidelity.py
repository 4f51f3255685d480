"""Nothing is lost in silence between dialects."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from tests.dialects.wire_samples import QUIRKS, requests, unnamed_losses

from tidegate.dialects.fidelity import FEATURES
from tidegate.dialects.neutral import NeutralRequest
from tidegate.dialects.wire import Quirks, Wire
from tidegate.dialects.wires import WIRES

_EACH_WIRE = pytest.mark.parametrize("wire", WIRES.values(), ids=list(WIRES))


@_EACH_WIRE
@settings(max_examples=200, deadline=None)
@given(request=requests(), quirks=QUIRKS)
def test_what_a_target_cannot_express_is_named(
    wire: Wire, request: NeutralRequest, quirks: Quirks
) -> None:
    """Each thing that a request says is carried to the target or stands in the report."""
    assert unnamed_losses(wire, request, quirks) == []


@_EACH_WIRE
@settings(max_examples=50, deadline=None)
@given(request=requests())
def test_equal_requests_are_equal_bytes(wire: Wire, request: NeutralRequest) -> None:
    """Encoding is deterministic, and stable over a second trip: prompt caches depend on it."""
    quirks = Quirks()
    body, _ = wire.encode_request(request, "target", quirks)
    again, _ = wire.encode_request(request, "target", quirks)
    assert body == again
    once, _ = wire.encode_request(wire.decode_request(body), "target", quirks)
    twice, _ = wire.encode_request(wire.decode_request(once), "target", quirks)
    assert once == twice


@_EACH_WIRE
def test_paths_belong_to_known_features(wire: Wire) -> None:
    """A wire's table of paths names features of the closed set only."""
    assert set(wire.fields) <= FEATURES
