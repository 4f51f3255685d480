"""What a translation could not carry, by name.

An encoder reports features of the neutral form; the caller reads the path of its own field.
Features are a closed set, so they can be metric labels; paths hold no index, so a header of
them stays short.

    x-tidegate-fidelity: top_k;dropped, messages[].content[].cache_control;dropped
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import msgspec

LossKind: TypeAlias = Literal["dropped", "approximated"]

#: Everything that an encoder may have to leave out or bend.
FEATURES = frozenset(
    {
        # parts of messages
        "system.position",  # a system turn amid the conversation
        "message.name",
        "image",
        "image.url",
        "image.file_id",
        "image.detail",
        "document",
        "document.url",
        "document.file_id",
        "document.title",
        "document.context",
        "document.citations",
        "audio",
        "tool_result.is_error",
        "tool_result.media",
        "thinking",
        "refusal",
        "citations",
        "part",  # a part that only the caller's dialect knows
        "cache_marker",
        "cache_marker.ttl",
        "tool_use",
        "tool_use.arguments",
        "tool_use.signature",  # the state that a provider hung on a call
        # tools
        "tool",
        "tool.description",
        "tool.strict",
        "tool.builtin",
        "tool.custom",
        "tool_choice",
        "tool_choice.allowed",
        "parallel_tool_calls",
        # the rest of a request
        "response_format",
        "response_format.name",
        "response_format.strict",
        "response_format.description",
        "stop",
        "max_output_tokens",
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "n",
        "logprobs",
        "reasoning",
        "reasoning.budget",
        "reasoning.display",
        "user",
        "metadata",
        # embeddings
        "dimensions",
        "embedding.task",
        "embedding.title",
        "extra",  # a top-level field without a place in the neutral form; `detail` names it
        "unread",  # a field further down without a place; `detail` is its path
        # answers
        "answer.choices",
        "answer.logprobs",
        "answer.citations",
        "answer.thinking",
        "answer.signature",
        "answer.refusal",
        "answer.audio",
        "answer.part",
        "answer.finish_reason",
        "answer.stop_sequence",
        "answer.tool_use",  # a call behind the first, where a caller can take one only
        "answer.tool_arguments",
    }
)


class Loss(msgspec.Struct, frozen=True):
    """One feature that was left out or bent.

    Attributes:
        feature: Member of `FEATURES`.
        detail: For `extra` and `unread`, the caller's own name or path; never a metric label.
    """

    feature: str
    kind: LossKind
    detail: str = ""


class Losses(dict[tuple[str, str], Loss]):
    """Collects losses; each one counts once, however often it occurs.

    A dictionary itself, as one is made for each request and each answer and most stay empty.
    """

    __slots__ = ()

    def drop(self, feature: str, detail: str = "") -> None:
        """Note that *feature* was left out."""
        self[feature, detail] = Loss(feature, "dropped", detail)

    def bend(self, feature: str, detail: str = "") -> None:
        """Note that *feature* was carried, but not exactly. A drop of the same outweighs it."""
        self.setdefault((feature, detail), Loss(feature, "approximated", detail))

    def listed(self) -> list[Loss]:
        """Return what was noted, in order."""
        return list(self.values())


def path_of(loss: Loss, fields: Mapping[str, str]) -> str:
    """Return the caller's path of *loss*; *fields* is the front's `Wire.fields`."""
    return loss.detail or fields.get(loss.feature, loss.feature)


def fidelity_header(losses: Iterable[Loss], fields: Mapping[str, str], *, limit: int = 32) -> bytes:
    """Render the value of `x-tidegate-fidelity`; empty when nothing was lost.

    Names that a client chose are cut to 64 characters of those that a token may have. More than
    *limit* losses end in `…;n` with the number left out, spelled `more;n=3`.
    """
    listed = list(losses)
    items = [
        b"%b;%b" % (_token(path_of(loss, fields)), loss.kind.encode()) for loss in listed[:limit]
    ]
    if len(listed) > limit:
        items.append(b"more;n=%d" % (len(listed) - limit))
    return b", ".join(items)


_TOKEN_SIGNS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.[]$")


def _token(path: str) -> bytes:
    return "".join([sign if sign in _TOKEN_SIGNS else "_" for sign in path[:64]]).encode()
