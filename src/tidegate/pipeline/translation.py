"""A request for a target that speaks another dialect than its caller.

The caller's bytes become the neutral form once, and from there the target's request; the answer
comes back the same way. What could not be carried is named: in the header `x-tidegate-fidelity`,
in the log, and in `tidegate_fidelity_total`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from tidegate.dialects.embeddings.backs import EMBEDDING_BACKS
from tidegate.dialects.embeddings.neutral import EmbeddingFront
from tidegate.dialects.fidelity import Loss, fidelity_header, path_of
from tidegate.dialects.neutral import NeutralRequest, WireError
from tidegate.dialects.translate import StreamTranslation, custom_tools, unwrap_answer
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import AnswerContext, Back, UnreadableAnswer, Wire
from tidegate.dialects.wires import BACKS
from tidegate.errors import BadRequest, BadUpstream
from tidegate.pipeline.call import Call
from tidegate.routing.plan import ModelRoute
from tidegate.routing.target import Target

if TYPE_CHECKING:
    from typing_extensions import override

    from tidegate.pipeline.gateway import Gateway
    from tidegate.pipeline.operation import Operation
else:
    from tidegate.config.snapshot import override

log = logging.getLogger("tidegate.pipeline")

#: Header lines that a translated request needs, by the wire it is written for.
_LINES = {"anthropic": b"anthropic-version: 2023-06-01\r\n"}


_NO_TOOLS: frozenset[str] = frozenset()


class Untranslatable(BadRequest):
    """No target of the model can answer this endpoint, or not without losing a field (400)."""

    code = "unsupported_by_model"


class Speaker(Protocol):
    """Whatever stands for a wire format, by its name."""

    @property
    def name(self) -> str:
        """A metric label."""
        ...


class Translation:
    """One attempt in another dialect.

    Attributes:
        back: What the target speaks.
        body: What it is sent.
        path: Where, below its base URL.
        lines: Header lines that go with it.
        losses: What the request lost.
        told: Whether the caller and the log hear of losses.
    """

    __slots__ = (
        "_back",
        "_call",
        "_context",
        "_custom",
        "_fields",
        "_front",
        "_front_name",
        "back",
        "body",
        "lines",
        "losses",
        "path",
        "told",
    )

    def __init__(
        self, call: Call, front: Wire, request: NeutralRequest, target: Target, back: Back
    ) -> None:
        self.back: Speaker = back
        self._back = back
        self.body, self.losses = back.encode_request(request, target.model, target.quirks)
        name = back.name
        self.path = (target.stream_paths if call.stream else target.paths)[name]
        self.lines = call.plan.forwarded_always + _LINES.get(name, b"")
        self.told = True
        self._call = call
        self._front = front
        self._front_name = front.name
        self._fields = front.fields
        self._custom = custom_tools(request) if request.tools else _NO_TOOLS
        self._context = AnswerContext(
            id=call.request_id.removeprefix("req_"),
            created_s=int(time.time()),
            model=request.model,
            include_usage=call.wants_usage,
            origin=name,
            legacy_functions=request.legacy_functions,
        )

    @property
    def note(self) -> bytes:
        """The header line that names what was lost; empty when nothing was."""
        if not self.losses or not self.told:
            return b""
        return b"x-tidegate-fidelity: %b\r\n" % fidelity_header(self.losses, self._fields)

    def answer(self, whole: bytes) -> tuple[bytes, Usage | None]:
        """Return a target's whole answer in the caller's dialect, and the usage it tells.

        Raises `BadUpstream` for an answer that is none.
        """
        try:
            neutral = self._back.decode_answer(whole)
            if self._custom:
                unwrap_answer(neutral, self._custom)
            neutral.model = self._context.model
            body, losses = self._front.encode_answer(neutral, self._context)
        except UnreadableAnswer as error:
            raise BadUpstream(f"The provider's answer could not be read: {error}.") from error
        if losses:
            self.losses = [*self.losses, *losses]
        return body, neutral.usage

    def stream(self) -> StreamTranslation:
        """Return what stands between the target's stream and the caller's."""
        return StreamTranslation(
            self._back.stream_decoder(choices=self._call.choices),
            self._front.stream_encoder(self._context),
            self._custom,
        )

    def refusal(self, status: int, body: bytes) -> WireError:
        """Read a target's refusal."""
        return self._back.decode_error(status, body)

    def count_losses(self, gateway: Gateway, more: list[Loss] | None = None) -> None:
        """Count and log what was lost, once the attempt has answered the caller."""
        losses = [*self.losses, *more] if more else self.losses
        if not losses:
            return
        front, back = self._front_name, self.back.name
        _count(gateway, losses, front, back)
        if self.told:
            _log(self._call, losses, front, back)


class EmbeddingTranslation(Translation):
    """One attempt at embeddings in another dialect; there is no stream of them."""

    __slots__ = ("_asked", "_embeds", "_model", "_speaks", "_target")

    def __init__(
        self, call: Call, front: EmbeddingFront, request: _Request, target: Target
    ) -> None:
        back = next(
            (EMBEDDING_BACKS[name] for name in EMBEDDING_BACKS if name in target.paths), None
        )
        if back is None:
            raise Untranslatable(f"The model `{call.model}` is served by a provider without it.")
        self._asked = front.decode_request(request.body)
        self.body, self.losses = back.encode_request(self._asked, target.model, target.quirks)
        self.back = self._speaks = back
        self.path = target.paths[back.operation]
        self.lines = call.plan.forwarded_always
        self.told = True
        self._call = call
        self._front_name = front.name
        self._fields = front.fields
        self._embeds = front
        self._model = request.model
        self._target = target

    @override
    def answer(self, whole: bytes) -> tuple[bytes, Usage | None]:
        """See `Translation.answer`; where nothing was told, the caller sees the estimate."""
        try:
            answer = self._speaks.decode_answer(whole)
            if len(answer.vectors) != len(self._asked.texts):
                raise UnreadableAnswer("not one vector for each text")
        except UnreadableAnswer as error:
            raise BadUpstream(f"The provider's answer could not be read: {error}.") from error
        usage: Usage = answer.usage or self._target.estimator.estimate(
            len(self.body), 0, stream=False
        )
        return self._embeds.encode_answer(answer, self._asked, self._model, usage), answer.usage

    @override
    def refusal(self, status: int, body: bytes) -> WireError:
        """Read a target's refusal."""
        return self._speaks.decode_error(status, body)


class _Request(Protocol):
    body: bytes
    model: str
    neutral: NeutralRequest | None


def translate(call: Call, request: _Request, route: ModelRoute, target: Target) -> Translation:
    """Write *request* for *target*. Raises `BadRequest` where that cannot be done."""
    operation = call.operation
    front, embeds = operation.wire, operation.embeds
    back = None if front is None else _wire_of(target)
    translation: Translation
    if front is not None and back is not None:
        neutral = request.neutral or _read_neutral(call, operation, front, request)
        translation = Translation(call, front, neutral, target, back)
        fields = front.fields
    elif embeds is not None:
        translation = EmbeddingTranslation(call, embeds, request, target)
        fields = embeds.fields
    else:
        raise Untranslatable(
            f"The model `{route.name}` cannot answer this endpoint "
            f"({call.endpoint.name}); it is served by a provider without it."
        )
    if route.unsupported == "reject":
        dropped = [loss for loss in translation.losses if loss.kind == "dropped"]
        if dropped:
            raise _does_not_support(route, dropped, fields)
    translation.told = route.unsupported != "drop"
    return translation


def without_foreign(
    gateway: Gateway, call: Call, route: ModelRoute, target: Target, body: bytes
) -> bytes:
    """Return a body that passes through, without the state of other providers; name the loss.

    Raises `Untranslatable` where the model may lose nothing.
    """
    operation = call.operation
    found = None if operation.foreign is None else operation.foreign[1](body, target.model)
    if found is None:
        return body
    own, losses = found
    fields = {} if operation.wire is None else operation.wire.fields
    if route.unsupported == "reject":
        raise _does_not_support(route, losses, fields)
    if not call.attempts:
        _count(gateway, losses, operation.name, operation.name)
    if route.unsupported == "warn":
        call.note = b"x-tidegate-fidelity: %b\r\n" % fidelity_header(losses, fields)
        _log(call, losses, operation.name, operation.name)
    return own


def _does_not_support(
    route: ModelRoute, losses: list[Loss], fields: Mapping[str, str]
) -> Untranslatable:
    names = ", ".join(sorted({path_of(loss, fields)[:64] for loss in losses}))
    return Untranslatable(f"The model `{route.name}` does not support: {names}.")


def _count(gateway: Gateway, losses: list[Loss], front: str, back: str) -> None:
    for loss in losses:
        gateway.meters.fidelity.labels(front, back, loss.feature).inc()


def _log(call: Call, losses: list[Loss], front: str, back: str) -> None:
    log.info(
        "translation lost something",
        extra={
            "fields": {
                "request_id": call.request_id,
                "dialect_in": front,
                "dialect_out": back,
                "lost": sorted({f"{loss.feature} {loss.kind}" for loss in losses}),
            }
        },
    )


def _read_neutral(
    call: Call, operation: Operation, front: Wire, request: _Request
) -> NeutralRequest:
    """Read the request into neutral form, once. Raises `BadRequest`."""
    if operation.versions is not None:
        _check_version(call, *operation.versions)
    neutral = request.neutral = front.decode_request(request.body)
    # Where the path says them, the body does not.
    neutral.model, neutral.stream = request.model, call.stream
    return neutral


def _check_version(call: Call, header: bytes, known: frozenset[bytes]) -> None:
    version = call.exchange.headers.get(header)
    if version is not None and version not in known:
        name, listed = header.decode(), ", ".join(sorted(v.decode() for v in known))
        raise BadRequest(f"'{name}' must be one of: {listed}.", param=name)


def read_ahead(call: Call, request: _Request, route: ModelRoute) -> None:
    """Read a request that will be translated before it consumes anything: it may be unreadable."""
    operation = call.operation
    if operation.name in route.targets[0].paths:
        return
    if operation.embeds is not None:
        operation.embeds.decode_request(request.body)
    elif operation.wire is not None and request.neutral is None:
        _read_neutral(call, operation, operation.wire, request)


def _wire_of(target: Target) -> Back | None:
    """Return the first wire that the target speaks."""
    for name in target.paths:
        wire = BACKS.get(name)
        if wire is not None:
            return wire
    return None
