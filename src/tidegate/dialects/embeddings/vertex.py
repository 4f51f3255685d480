"""Embeddings on Google Vertex AI, as a provider speaks it: one method for each line of models.

    :predict             {"instances": [{"content": "a", "task_type": "RETRIEVAL_QUERY",
                          "title": "t"}], "parameters": {"outputDimensionality": 256}}
                         {"predictions": [{"embeddings": {"values": [0.1, …],
                          "statistics": {"token_count": 3, "truncated": false}}}]}
    :batchEmbedContents  {"requests": [{"content": {"role": "user", "parts": [{"text": "a"}]},
                          "embedContentConfig": {"taskType": "RETRIEVAL_QUERY", "title": "t",
                          "outputDimensionality": 256}}]}
                         {"embeddings": [{"values": [0.1, …]}],
                          "usageMetadata": {"promptTokenCount": 3}}

Source: what the google-genai package, 3.x, sends and reads with `vertexai=True`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import msgspec

from tidegate.dialects.embeddings.gemini import GEMINI_BATCH_EMBEDDINGS
from tidegate.dialects.embeddings.neutral import EmbeddingAnswer, EmbeddingRequest, leftovers
from tidegate.dialects.encode import encode_json
from tidegate.dialects.fidelity import Loss, Losses
from tidegate.dialects.gemini.wire import GENERATE
from tidegate.dialects.neutral import WireError
from tidegate.dialects.openai.usage import MAX_TOKENS
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import Quirks, UnreadableAnswer

if TYPE_CHECKING:
    from typing_extensions import override
else:
    from tidegate.config.snapshot import override


class _Statistics(msgspec.Struct):
    token_count: float | None = None


class _Embeddings(msgspec.Struct):
    values: list[float]
    statistics: _Statistics | None = None


class _Prediction(msgspec.Struct):
    embeddings: _Embeddings


class _Answer(msgspec.Struct):
    predictions: list[_Prediction]


_decode_answer = msgspec.json.Decoder(_Answer).decode


class _VertexMethod:
    """What both methods share; see `neutral.EmbeddingBack`."""

    name = "vertex"

    def encode_request(
        self, request: EmbeddingRequest, model: str, quirks: Quirks
    ) -> tuple[bytes, list[Loss]]:
        """Write a provider's request; the model stands in the path."""
        losses = Losses()
        passed = leftovers(request, quirks, losses)
        if request.user:
            losses.drop("user")
        return encode_json({**self._body(request), **passed}), losses.listed()

    def decode_error(self, status: int, body: bytes) -> WireError:
        """Read a provider's refusal."""
        return GENERATE.decode_error(status, body)

    @abstractmethod
    def _body(self, request: EmbeddingRequest) -> dict[str, Any]:
        """Return what the method wants of a request."""


class VertexPredict(_VertexMethod):
    """Models of the method that is older: `text-embedding-…`."""

    operation = "vertex_predict"

    @override
    def _body(self, request: EmbeddingRequest) -> dict[str, Any]:
        purpose = _purpose(request, "task_type")
        body: dict[str, Any] = {"instances": [{"content": t, **purpose} for t in request.texts]}
        if request.dimensions is not None:
            body["parameters"] = {"outputDimensionality": request.dimensions}
        return body

    def decode_answer(self, body: bytes) -> EmbeddingAnswer:
        """Read a provider's answer; tokens are told text by text."""
        try:
            found = [one.embeddings for one in _decode_answer(body).predictions]
        except UNREADABLE:
            raise UnreadableAnswer("no list of predictions with embeddings") from None
        counts = [None if one.statistics is None else one.statistics.token_count for one in found]
        told = [count for count in counts if count is not None and 0 <= count <= MAX_TOKENS]
        whole = bool(found) and len(told) == len(found)
        usage = Usage(input_tokens=int(sum(told))) if whole else None
        return EmbeddingAnswer([one.values for one in found], usage)


class VertexBatchEmbed(_VertexMethod):
    """Gemini's models: the Gemini API's method, its settings in an object of their own."""

    operation = "vertex_batch_embed"

    @override
    def _body(self, request: EmbeddingRequest) -> dict[str, Any]:
        config: dict[str, Any] = _purpose(request, "taskType")
        if request.dimensions is not None:
            config["outputDimensionality"] = request.dimensions
        settings = {"embedContentConfig": config} if config else {}
        requests = [
            {"content": {"role": "user", "parts": [{"text": text}]}, **settings}
            for text in request.texts
        ]
        return {"requests": requests}

    def decode_answer(self, body: bytes) -> EmbeddingAnswer:
        """Read a provider's answer."""
        return GEMINI_BATCH_EMBEDDINGS.decode_answer(body)


def _purpose(request: EmbeddingRequest, task_field: str) -> dict[str, Any]:
    """Return what the vectors are for and the title, as far as they were told."""
    told = ((task_field, request.task), ("title", request.title))
    return {field: text for field, text in told if text}


VERTEX_PREDICT = VertexPredict()
VERTEX_BATCH_EMBED = VertexBatchEmbed()
