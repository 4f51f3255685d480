"""A Responses stream passed on to a caller of the same dialect, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from tidegate.dialects.neutral import WireError
from tidegate.dialects.passing import PassingStream
from tidegate.dialects.responses.decoder import ResponsesStreamDecoder
from tidegate.dialects.responses.errors import failed_events
from tidegate.dialects.wire import MAX_EVENT_BYTES

if TYPE_CHECKING:
    from typing_extensions import override
else:
    from tidegate.config.snapshot import override

#: The ends of a response, or an error: all else is content.
_SIGNS = (
    b'"response.completed"',
    b'"response.incomplete"',
    b'"response.failed"',
    b'"response.cancelled"',
    b'"error"',
)
_NUMBER = re.compile(rb'"sequence_number"\s*:\s*(\d{1,9})')


class ResponsesPassing(PassingStream):
    """Scanner for Responses streams.

    Args:
        begun: Called once with the provider's id of the response.
        ended: Called with the last event, as JSON, before it leaves.
    """

    __slots__ = ("_begun", "_ended", "_reader", "_told", "_written")

    def __init__(
        self,
        begun: Callable[[str], None] | None = None,
        ended: Callable[[bytes], None] | None = None,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self._reader = ResponsesStreamDecoder(max_event_bytes=max_event_bytes)
        super().__init__(self._reader, _SIGNS, max_event_bytes)
        self._begun = begun
        self._ended = ended
        self._told = False
        self._written = b""

    @override
    def feed(self, data: bytes) -> bytes:
        """See `PassingStream.feed`."""
        out = super().feed(data)
        if out:
            self._written = out
        if not self._told and self._reader.response_id:
            self._told = True
            if self._begun is not None:
                self._begun(self._reader.response_id)
        return out

    @override
    def terminator(self) -> bytes:
        """See `PassingStream.terminator`."""
        if self._ended is not None and self._reader.finished:
            self._ended(self._reader.last)
        return super().terminator()

    def fail(self, error: WireError) -> bytes:
        """Return the end of a stream that the provider left unfinished."""
        numbers = _NUMBER.findall(self._written)
        following = int(numbers[-1]) + 1 if numbers else 0
        response = {"id": self._reader.response_id, "object": "response", "output": []}
        return failed_events(error, following, response)
