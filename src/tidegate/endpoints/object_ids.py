"""The ids of a provider's objects that a request names: files, stores of vectors, sandboxes.

Sources: the parameter types of the openai and anthropic packages and of google-genai (`FileData`,
`cachedContent`). A body is looked through once, token by token, so that two equal names, names in
escapes and any order are all seen as a provider may see them. What providers do not read as an
id is left out: schemas and arguments of tools, metadata, and the sources that an answer quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple
from urllib.parse import unquote

import msgspec

from tidegate.dialects.unreadable import UNREADABLE


class Named(NamedTuple):
    """An id that a request names.

    Attributes:
        id: As the provider gave it; of Gemini's `files/…` and `cachedContents/…`.
        field: Where it stands.
        given: Whether the provider gave it inside an answer, unasked: sandboxes, sound, skills.
    """

    id: str
    field: str
    given: bool = False


#: Fields whose text, or whose texts in a list, are ids.
_IDS: Final = frozenset(
    {
        "file_id",
        "file_ids",
        "input_file_id",
        "training_file",
        "validation_file",
        "vector_store_id",
        "vector_store_ids",
        "conversation",
        "conversation_id",
        "assistant_id",
        "thread_id",
        "eval_id",
    }
)
_GIVEN: Final = frozenset({"container", "container_id", "skill_id"})
#: Fields whose object has the id as `id`.
_WITH_ID: Final = frozenset({"conversation", "container", "audio"})
#: Types of objects whose `id` names another: a file of an evaluation, an item of a response.
_BY_TYPE: Final = frozenset({"file_id", "item_reference"})
ITEM: Final = "item_reference"
#: Fields of Gemini's that hold a name or an address.
_NAMES: Final = frozenset({"fileUri", "file_uri", "cachedContent", "cached_content"})
_NAME: Final = re.compile(r"(?:^|/)(files|cachedContents)/([^/?#]+)(?:[?#].*)?$")
#: Objects and lists in which an id is anything but a provider's.
_SKIPPED: Final = frozenset(
    {
        "annotations",
        "args",
        "arguments",
        "citations",
        "input_schema",
        "inputSchema",
        "json_schema",
        "metadata",
        "parameters",
        "parametersJsonSchema",
        "properties",
        "response",
        "responseJsonSchema",
        "responseSchema",
        "results",
        "schema",
    }
)

_ESCAPES: Final = b"\\u00"
#: Letters, digits and signs of names that somebody wrote as escapes, which no encoder does.
_HIDDEN: Final = re.compile(rb"\\u00(?:2[dD]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF])")
_ALL_SIGNS: Final = (
    b"file_id",
    b"ing_file",
    b"ion_file",
    b"vector_store_id",
    b'"conversation',
    b'"container',
    b'"audio"',
    b"skill_id",
    b"ileUri",
    b"ile_uri",
    b"achedContent",
    b"ached_content",
)
_GEMINI: Final = (b"ileUri", b"ile_uri", b"achedContent", b"ached_content")
_MESSAGES: Final = (b"file_id", b'"container"', b"skill_id")
_RESPONSES: Final = (
    b"file_id",
    b"vector_store_id",
    b'"conversation',
    b'"container',
    b"skill_id",
)
#: Operation → what stands in every body of it that names an object.
_SIGNS: Final[Mapping[str, tuple[bytes, ...]]] = MappingProxyType(
    {
        "openai": (b"file_id", b'"audio"'),
        "completions": (),
        "embeddings": (),
        "moderations": (),
        "responses": _RESPONSES,
        "responses_input_tokens": _RESPONSES,
        "responses_compact": _RESPONSES,
        "anthropic": _MESSAGES,
        "anthropic_count_tokens": _MESSAGES,
        "gemini": _GEMINI,
        "gemini_count_tokens": _GEMINI,
        "gemini_embed": _GEMINI,
        "gemini_batch_embed": _GEMINI,
    }
)

_TOKEN: Final = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"([ \t\r\n]*:)?|[{}\[\]]', re.DOTALL)
#: Tokens between two turns of the loop: some 5 ms.
_STEP: Final = 10_000
_decode_text = msgspec.json.Decoder(str).decode


def may_refer(body: bytes) -> bool:
    """Whether *body* may hold a reference to an item of a response."""
    return b"item_reference" in body or (_ESCAPES in body and _HIDDEN.search(body) is not None)


def may_name(body: bytes, operation: str) -> bool:
    """Whether *body* may name an object at all: a few searches, no parsing."""
    signs = _SIGNS.get(operation, _ALL_SIGNS)
    for sign in signs:
        if sign in body:
            return True
    return bool(signs) and _ESCAPES in body and _HIDDEN.search(body) is not None


class _Level:
    """An object or a list that is open."""

    __slots__ = ("field", "ids", "is_list", "key", "kinds", "skipped")

    def __init__(self, field: str, *, is_list: bool, skipped: bool) -> None:
        self.field = field  # that it is the value of
        self.is_list = is_list
        self.skipped = skipped
        self.key = field if is_list else ""  # whose value comes next
        self.ids: list[bytes] = []
        self.kinds: list[bytes] = []


def ids_in(body: bytes) -> Iterator[Named | None]:
    """Yield the ids that a JSON body names; None now and then, to let others have their turn.

    The body is valid JSON: whoever passes it on has seen to that.
    """
    levels: list[_Level] = [_Level("", is_list=False, skipped=False)]
    level = levels[0]
    for number, token in enumerate(_TOKEN.finditer(body), 1):
        if number % _STEP == 0:
            yield None
        sign = body[token.start()]
        if sign in b"{[":
            key = level.key
            is_list = sign == 0x5B
            # A call's own input is an object; a prompt is a text or a list.
            is_call = key == "input" and not is_list and not level.is_list
            skipped = level.skipped or key in _SKIPPED or is_call
            level = _Level(key, is_list=is_list, skipped=skipped)
            levels.append(level)
        elif sign in b"}]":
            if level.ids and level.kinds:
                yield from _named_by_type(level)
            if len(levels) > 1:
                levels.pop()
            level = levels[-1]
            if not level.is_list:
                level.key = ""
        elif token[2] is not None:
            level.key = _text(token[1])
        elif not level.skipped:
            if level.key == "id":
                level.ids.append(token[1])
            elif level.key == "type":
                level.kinds.append(token[1])
            yield from _named(level, token[1])


def _named(level: _Level, raw: bytes) -> Iterator[Named]:
    """Yield the id that a text is, by the field that it stands in."""
    key = level.key
    if key in _IDS or key in _GIVEN:
        text = _text(raw)
        if text:
            yield Named(text, key, key in _GIVEN)
    elif key == "id" and level.field in _WITH_ID:
        yield Named(_text(raw), level.field, level.field != "conversation")
    elif key in _NAMES:
        name = object_name(_text(raw))
        if name is not None:
            yield Named(name, key)


def _named_by_type(level: _Level) -> Iterator[Named]:
    """Yield the ids of an object that is there to name them, in whatever order it says so."""
    if level.is_list:
        return
    for raw in level.kinds:
        kind = _text(raw)
        if kind in _BY_TYPE:
            yield from [Named(_text(found), kind) for found in level.ids]


_FORM_FIELD: Final = re.compile(
    rb'name="([^"]*)"[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]{1,256})\r\n', re.IGNORECASE
)


def ids_of_form(body: bytes) -> Iterator[Named]:
    """Yield the ids in the fields of a form, which is a plain one (`dialects.openai.form`)."""
    for found in _FORM_FIELD.finditer(body):
        names = [part for part in re.split(r"[\[\].]+", _text(found[1])) if not part.isdigit()]
        for name in names:
            if name in _IDS or name in _GIVEN:
                yield Named(_text(found[2]), name, name in _GIVEN)


def object_name(text: str) -> str | None:
    """Return `files/…` or `cachedContents/…` of a name or an address; None for any other."""
    found = _NAME.search(unquote(text))
    return None if found is None else f"{found[1]}/{found[2]}"


def _text(raw: bytes) -> str:
    if b"\\" not in raw:
        return raw.decode("utf-8", "replace")
    try:
        return _decode_text(b'"' + raw + b'"')
    except UNREADABLE:
        return raw.decode("utf-8", "replace")
