"""`background: true` for models whose provider keeps no responses: we make them without a client.

The answer to the request is a response in the state `queued`, or, with `stream: true`, its events
as they come. From then on nobody has to listen: `GET /v1/responses/{id}` tells how far it is.
Whatever ends the work, a provider, a client's `cancel` or the end of this process, the response
ends too (`responses_stored` sees to those whose process was killed).
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from tidegate.dialects.encode import encode_json
from tidegate.dialects.neutral import WireError
from tidegate.dialects.openai.request import ModelRequest
from tidegate.dialects.responses.answer import response_object
from tidegate.dialects.responses.errors import failed_events
from tidegate.dialects.responses.request_read import echo_of
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.dialects.wire import AnswerContext
from tidegate.endpoints.background_exchange import BackgroundExchange, told_in
from tidegate.endpoints.responses_events import stream_log
from tidegate.endpoints.responses_state import State, keeps
from tidegate.errors import BadRequest, GatewayError, Unavailable
from tidegate.keys.principal import Principal
from tidegate.pipeline.attempt import run_attempts
from tidegate.pipeline.call import Call
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.handle import admit
from tidegate.pipeline.settle import finish, settle
from tidegate.pipeline.traces import begin_trace, finish_trace
from tidegate.pipeline.translation import read_ahead
from tidegate.responses.jobs import Job, Place, TooManyJobs
from tidegate.responses.log_room import LogFull
from tidegate.responses.record import Record
from tidegate.responses.store import INLINE_INPUT_BYTES, ResponseStore
from tidegate.routing.plan import ModelRoute
from tidegate.routing.target import Target

if TYPE_CHECKING:
    from typing_extensions import override
else:
    from tidegate.config.snapshot import override

log = logging.getLogger("tidegate.responses")

_NAME = "responses_background"
_JSON = b"content-type: application/json\r\n"
_RETRY_S = 5.0
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_STOPPED = WireError(
    500, "The gateway was stopped before the response was whole.", "api_error", "server_error"
)
_CUT = WireError(
    502, "The provider's stream ended before it was finished.", "api_error", "server_error"
)


def asks_for_background(request: ModelRequest) -> bool:
    """Whether a response is to be made in the background. Raises `BadRequest`."""
    raw = bytes(request.fields.get("background", b"false"))
    if raw not in (b"true", b"false", b"null"):
        raise BadRequest("'background' must be a boolean.", param="background")
    return raw == b"true"


class BackgroundState(State):
    """The state of one response in the background; always kept here, whoever answers.

    Args:
        call: The call that began it.
        principal: Whose it is.
        request: As it came.
        route: Where it may be answered.
    """

    __slots__ = ("_apart", "_asked", "_base", "_native_id", "is_kept", "response_id")

    def __init__(
        self, call: Call, principal: Principal, request: ModelRequest, route: ModelRoute
    ) -> None:
        super().__init__(call, principal, request, route)
        identifier = call.request_id.removeprefix("req_")
        self.response_id = f"resp_{identifier}"
        self.is_kept = False
        self._asked = request
        self._apart = False
        self._native_id = b""
        self._base: dict[str, Any] = {}

    async def get_ready(self, call: Call) -> None:
        """Write the request as it is sent on by *call*, which no client waits for."""
        store = self._store
        if store is None or not store.keeps_content:
            raise BadRequest(
                "This gateway keeps no responses to come back for.", param="background"
            )
        if bytes(self._asked.fields.get("store", b"true")) == b"false":
            raise BadRequest(
                "A response in the background has to be kept: leave 'store' out.", param="store"
            )
        self._call = call
        self._stored = True
        fields: dict[str, Any] = {**self.request.fields, "stream": True, "store": False}
        fields.pop("background", None)
        self.request = ModelRequest(encode_json(fields))
        self._prepare(self._asked.fields)
        echo = echo_of(self._asked.fields)
        echo["store"] = True
        context = AnswerContext(
            id=self.response_id.removeprefix("resp_"),
            created_s=int(time.time()),
            model=self.request.model,
        )
        self._base = response_object(context, echo, created_s=0, status="queued", output=[])
        if len(self._input) > INLINE_INPUT_BYTES:
            self._staged = await store.stage(self._input)
            if self._staged is None:
                raise Unavailable("The gateway cannot keep responses now.")

    def note(self, status: str) -> bytes:
        """Keep that it is `queued` or `in_progress`; return the response."""
        self._base["status"] = status
        whole = encode_json(self._base)
        if not self._put(whole, running=True):
            raise Unavailable("The gateway cannot keep responses now.")
        return whole

    def close(self, exchange: BackgroundExchange, end: WireError | None) -> None:
        """Keep how it ended, where no provider has said so; None for a client's cancelling."""
        if self.is_kept:
            return
        told = told_in(exchange.last.rstrip(b"\n").rpartition(b"\n\n")[2] + b"\n\n")
        if told is not None and told.is_last and bytes(told.response):
            # The provider's own failure, or a cut that was told.
            self._keep_here(bytes(told.response))
            return
        following = 0 if told is None else told.sequence_number + 1
        if end is None:
            response = {**self._base, "status": "cancelled"}
            last = {"type": "response.cancelled", "sequence_number": following,
                    "response": response}  # fmt: skip
            events = b"event: response.cancelled\ndata: %b\n\n" % encode_json(last)
        else:
            response = {**self._base}
            events = failed_events(end, following, response)  # which marks it as failed
        self._put(encode_json(response), running=False)
        exchange.write_end(events)

    def rename(self, data: bytes) -> bytes:
        """Put our id in the place of the provider's."""
        if self._native_id and self._native_id in data:
            return data.replace(self._native_id, b'"%b"' % self.response_id.encode())
        return data

    # --- what comes back ----------------------------------------------------------------------

    @override
    def _begun(self, response_id: str) -> None:
        """Learn by which id a provider knows it: it keeps none, and nobody can ask for that."""
        self._native_id = b'"%b"' % response_id.encode()

    @override
    def _ended(self, last_event: bytes) -> None:
        told = told_in(b"data: " + last_event + b"\n\n")
        if told is not None and bytes(told.response):
            self._keep(bytes(told.response))

    @override
    def keep_whole(self, whole: bytes, target: Target) -> bytes:
        """See `State.keep_whole`."""
        if not self.is_kept:
            self._keep(whole)
        return whole

    @override
    def _keep(self, response: bytes) -> None:
        """Keep a whole response, or raise `Unavailable`: its end has not been told yet."""
        store = self._store
        assert store is not None
        try:
            store.check_size(response)
        except LogFull as full:
            raise Unavailable(str(full)) from None
        self._keep_here(response)
        if not self.is_kept:
            raise Unavailable("The gateway cannot keep this response now.")

    def _keep_here(self, response: bytes) -> None:
        """Keep a whole response under the id that its caller was told."""
        try:
            fields: dict[str, Any] = {**_decode_fields(response)}
        except UNREADABLE:
            return
        fields |= {"id": self.response_id, "background": True, "store": True}
        self.is_kept = self._put(encode_json(fields), running=False)

    def _put(self, response: bytes, *, running: bool) -> bool:
        store = self._store
        assert store is not None
        staged, self._staged = self._staged, None
        self._apart = self._apart or staged is not None
        record = Record(
            response=response,
            input=b"" if self._apart else self._input,
            apart=self._apart,
            previous=self._previous,
            background=True,
            running=running,
        )
        return store.put(self._key_id, self.response_id, record, staged)


async def serve_background(
    gateway: Gateway, call: Call, principal: Principal, request: ModelRequest, route: ModelRoute
) -> bool:
    """Begin a response in the background and answer with it; False where its provider does that.

    Raises `GatewayError` where it cannot be begun.
    """
    state = BackgroundState(call, principal, request, route)
    await state.look_back(gateway.responses)
    if keeps(state.route.targets[0]):
        return False
    work = Call(call.exchange, replace(call.endpoint, name=_NAME), call.plan, call.state,
                call.request_id)  # fmt: skip
    work.principal = principal
    work.model = state.route.name
    work.stream = work.wants_usage = True
    store = gateway.responses
    place = _take_place(gateway, len(state.request.body))
    try:
        await state.get_ready(work)
        read_ahead(work, state.request, state.route)
        assert store is not None
        await admit(gateway, call, principal, state.route)
        job, queued = _begin(store, call, work, state, place)
        gateway.jobs.start(job, _make(gateway, work, state, job))
    except BaseException:
        place.give_back()
        raise
    finally:
        await state.end()
    if call.stream:
        await stream_log(gateway, call, store, principal, state.response_id)
    else:
        finish(gateway, call, 200, _JSON, queued)
    return True


def _take_place(gateway: Gateway, size_bytes: int) -> Place:
    """Count a response as being made before anything is waited for. Raises `Unavailable`."""
    try:
        return gateway.jobs.take_place(size_bytes)
    except TooManyJobs:
        raise Unavailable(
            "Too many responses are being made in the background.", retry_after_s=_RETRY_S
        ) from None


def _begin(
    store: ResponseStore, call: Call, work: Call, state: BackgroundState, place: Place
) -> tuple[Job, bytes]:
    """Write down that a response is going to be made: `(job, queued response)`."""
    try:
        events = store.open_log(work.principal.key_id if work.principal else "", state.response_id)
    except OSError:
        raise Unavailable("The gateway cannot keep responses now.") from None
    try:
        queued = state.note("queued")
    except Unavailable:
        events.close()
        raise
    work.exchange = BackgroundExchange(call.exchange, events, state.rename)
    work.started_at = work.exchange.started_at
    decision = call.decision
    if decision is not None:
        # What a concurrency limit holds is held until the work is done, not the answer to `POST`.
        work.decision = msgspec.structs.replace(decision)
        decision.holds = ()
    return Job(events, place), queued


async def _make(gateway: Gateway, call: Call, state: BackgroundState, job: Job) -> None:
    """Make one response, and see to it that it ends, one way or another."""
    exchange = call.exchange
    assert isinstance(exchange, BackgroundExchange)
    if gateway.tracer is not None:
        begin_trace(gateway.tracer, call)
    gateway.meters.in_flight.inc()
    end: WireError | None = _CUT
    status = 0
    try:
        state.note("in_progress")
        await run_attempts(gateway, call, state.request, state.route, state.keep_whole)
        status = call.status
    except GatewayError as error:
        call.outcome, status = error.code, error.status
        end = WireError(error.status, error.message, error.kind, error.code, error.param)
    except asyncio.CancelledError:
        call.outcome = "client_gone" if job.is_cancelled else "service_unavailable"
        end = None if job.is_cancelled else _STOPPED
    except Exception:
        log.exception("request failed", extra={"fields": {"request_id": call.request_id}})
        call.outcome, status = "internal_error", 500
        end = WireError(500, "The gateway failed to serve this request.", "api_error", "")
    finally:
        _end(gateway, call, state, job, end, status)


def _end(
    gateway: Gateway,
    call: Call,
    state: BackgroundState,
    job: Job,
    end: WireError | None,
    status: int,
) -> None:
    """Keep the end of a response, count it, and let go of it."""
    exchange = call.exchange
    assert isinstance(exchange, BackgroundExchange)
    exchange.watcher = None
    try:
        state.close(exchange, end)
    except OSError as error:
        log.error("a response could not be kept", extra={"fields": {"error": error.strerror}})
    finally:
        job.log.close()
        gateway.meters.in_flight.dec()
        if not call.settled:
            settle(gateway, call, status)
        if call.trace is not None:
            finish_trace(call.trace, call)
