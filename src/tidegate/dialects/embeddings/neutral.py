"""A request for embeddings and its answer, as no dialect writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from tidegate.dialects.fidelity import Loss, Losses
from tidegate.dialects.neutral import WireError
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import Quirks
from tidegate.errors import BadRequest


class EmbeddingRequest(msgspec.Struct):
    """Texts, each of which becomes one vector.

    Attributes:
        texts: At least one.
        dimensions: Length of the vectors; None for the model's own.
        encoding: How the caller wants to read them: `base64` is of little-endian float32.
        task: What they are for, in Gemini's words, such as `RETRIEVAL_QUERY`; empty for unknown.
        title: Title of the one document.
        user: The caller's own user.
        extra: Top-level fields without a place here: name → JSON.
        unread: Paths of fields further down without a place.
    """

    texts: list[str]
    dimensions: int | None = None
    encoding: Literal["float", "base64"] = "float"
    task: str = ""
    title: str = ""
    user: str = ""
    extra: dict[str, bytes] = {}
    unread: list[str] = []


class EmbeddingAnswer(msgspec.Struct):
    """One vector a text, in the same order; usage where the provider tells it."""

    vectors: list[list[float]]
    usage: Usage | None = None


class EmbeddingFront(Protocol):
    """One dialect as a caller speaks it."""

    @property
    def name(self) -> str:
        """Metric label, such as `openai`."""
        ...

    @property
    def fields(self) -> Mapping[str, str]:
        """Feature → path of the field that carries it."""
        ...

    def decode_request(self, body: bytes) -> EmbeddingRequest:
        """Read a caller's request; raises `BadRequest` that names the field at fault."""
        ...

    def encode_answer(
        self, answer: EmbeddingAnswer, request: EmbeddingRequest, model: str, usage: Usage
    ) -> bytes:
        """Write the answer for the caller.

        Args:
            answer: What the provider answered.
            request: What was asked.
            model: The name that the caller asked for.
            usage: Told or, where nothing was, estimated.
        """
        ...


class EmbeddingBack(Protocol):
    """One dialect as a provider speaks it."""

    @property
    def name(self) -> str:
        """Metric label, such as `cohere`."""
        ...

    @property
    def operation(self) -> str:
        """Name in `providers.operations`."""
        ...

    def encode_request(
        self, request: EmbeddingRequest, model: str, quirks: Quirks
    ) -> tuple[bytes, list[Loss]]:
        """Write *request* for *model*, the provider's name of it, and name what was lost."""
        ...

    def decode_answer(self, body: bytes) -> EmbeddingAnswer:
        """Read the provider's answer; raises `UnreadableAnswer`."""
        ...

    def decode_error(self, status: int, body: bytes) -> WireError:
        """Read the provider's refusal; never raises."""
        ...


def leftovers(request: EmbeddingRequest, quirks: Quirks, losses: Losses) -> dict[str, msgspec.Raw]:
    """Name what has no place in the neutral form; return the fields that pass all the same."""
    passed: dict[str, msgspec.Raw] = {}
    for name, raw in request.extra.items():
        if name in quirks.pass_fields:
            passed[name] = msgspec.Raw(raw)
        else:
            losses.drop("extra", name)
    for path in request.unread:
        losses.drop("unread", path)
    return passed


def check_texts(texts: list[str], path: str) -> list[str]:
    """Return *texts*; raises `BadRequest` where there is none, or one is empty."""
    if not texts:
        raise BadRequest(f"'{path}' is empty.", param=path)
    if "" in texts:
        raise BadRequest(f"'{path}' holds an empty text.", param=path)
    return texts
