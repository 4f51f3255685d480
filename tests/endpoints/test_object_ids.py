"""Which ids of a provider's objects a body names, however it is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.endpoints.object_ids import (
    ITEM,
    Named,
    ids_in,
    ids_of_form,
    may_name,
    may_refer,
    object_name,
)


def _ids(body: bytes | dict[str, Any]) -> set[str]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return {named.id for named in ids_in(raw) if named is not None}


CASES: list[tuple[str, dict[str, Any], set[str]]] = [
    (
        "openai",
        {"messages": [{"role": "user", "content": [
            {"type": "text", "text": "what is in \"file_id\": \"file-0\"?"},
            {"type": "file", "file": {"file_id": "file-1"}}]}]},
        {"file-1"},
    ),
    ("openai", {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}, {"audio_1"}),
    ("openai", {"audio": {"voice": "alloy", "format": "wav"}, "messages": []}, set()),
    (
        "responses",
        {"input": [{"role": "user", "content": [
            {"type": "input_image", "file_id": "file-1"},
            {"type": "input_file", "file_id": "file-2"}]},
            {"type": "code_interpreter_call", "container_id": "cntr_1"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text",
             "text": "x", "annotations": [{"type": "file_citation", "file_id": "file-9"}]}]}],
         "tools": [{"type": "file_search", "vector_store_ids": ["vs_1", "vs_2"]},
                   {"type": "code_interpreter", "container": "cntr_2"},
                   {"type": "code_interpreter",
                    "container": {"type": "auto", "file_ids": ["file-3"]}},
                   {"type": "function", "name": "f", "parameters": {
                       "properties": {"file_id": {"type": "string", "default": "file-8"}}}}],
         "conversation": {"id": "conv_1"}},
        {"file-1", "file-2", "file-3", "vs_1", "vs_2", "cntr_1", "cntr_2", "conv_1"},
    ),
    ("responses", {"conversation": "conv_1", "input": "x"}, {"conv_1"}),
    (
        "anthropic",
        {"container": {"skills": [{"type": "custom", "skill_id": "sk_1"}], "id": "c_1"},
         "messages": [{"role": "user", "content": [
             {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
             {"type": "container_upload", "file_id": "file_2"}]},
             {"role": "assistant", "content": [
                 {"type": "tool_use", "id": "t", "name": "n", "input": {"file_id": "mine"}}]}]},
        {"sk_1", "c_1", "file_1", "file_2"},
    ),
    ("anthropic", {"container": "c_1", "messages": []}, {"c_1"}),
    (
        "gemini",
        {"contents": [{"parts": [
            {"fileData": {"fileUri": "https://g.example/v1beta/files/abc?alt=media"}},
            {"file_data": {"file_uri": "files/def"}},
            {"fileData": {"fileUri": "https://youtu.be/xyz"}},
            {"functionCall": {"name": "n", "args": {"file_id": "mine"}}},
            {"functionResponse": {"name": "n", "response": {"file_id": "mine"}}}]}],
         "cachedContent": "cachedContents/c1"},
        {"files/abc", "files/def", "cachedContents/c1"},
    ),
    ("images_edits", {"images": [{"file_id": "file-1"}], "mask": {"file_id": "file-2"}},
     {"file-1", "file-2"}),
    ("passthrough", {"training_file": "file-1", "validation_file": "file-2"}, {"file-1", "file-2"}),
    (
        "passthrough",
        {"data_source": {"type": "completions", "source": {"type": "file_id", "id": "file-1"},
                         "input_messages": {"type": "item_reference", "item_reference": "item.x"}},
         "testing_criteria": [{"type": "label_model", "id": "mine"}]},
        {"file-1"},
    ),
    ("passthrough", {"input_file_id": "file-1", "metadata": {"file_id": "mine"}}, {"file-1"}),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "body", "ids"), CASES)
def test_every_place_where_a_provider_reads_an_id(
    operation: str, body: dict[str, Any], ids: set[str]
) -> None:
    """Found where one stands; texts, schemas, arguments and quoted sources are no ids."""
    assert _ids(body) == ids
    if ids:
        assert may_name(json.dumps(body).encode(), operation)
        assert may_name(json.dumps(body).encode(), "passthrough")


def test_references_to_items_of_responses() -> None:
    """They are told from ids of other objects, as others look after them; escapes hide none."""
    plain = b'{"input":[{"id":"msg_1","type":"item_reference"},{"id":"msg_2"}]}'
    for body in (plain, plain.replace(b"_ref", rb"\u005fref")):
        assert may_refer(body)
        assert list(ids_in(body)) == [Named("msg_1", ITEM)]
    assert not may_refer(b'{"input":[{"id":"msg_2"}]}')


def test_an_ordinary_body_is_not_parsed() -> None:
    """Escapes of other letters, of quotes and of lines are no reason to look closer."""
    body = json.dumps({"messages": [{"role": "user", "content": 'é "a file"\n\x1b \\ <b>'}]})
    raw = body.replace("<", "\\u003c").encode()
    assert b"\\u00" in raw
    for operation in ("openai", "responses", "anthropic", "gemini", "embeddings"):
        assert not may_name(raw, operation)


@pytest.mark.parametrize(
    "body",
    [
        b'{"file_id":"file-1","file_id":"own"}',
        b'{"file_id":"own","file_id":"file-1"}',
        b'{"x":{"file_id":"own"},"x":{"file_id":"file-1"},"x":1}',
        rb'{"file\u005fid":"file-1"}',
        rb'{"\u0066ile_id":"file\u002d1"}',
        b'{"file_id"\t\r\n : \n"file-1"}',
        rb'{"a\\":"\\\"","file_id":"file-1"}',
        b'[{"container":{"z":[{}],"file_ids":[["file-1"]]}}]',
        b'{"type":"file_id","type":"x","id":"own","id":"file-1"}',
        b'{"id":"file-1","id":"own","x":[{}],"type":"file_id"}',
        rb'{"i\u0064":"file-1","x":{"id":"own"},"typ\u0065":"file\u005fid"}',
        rb'{"fileUri":"https:\/\/g.example\/v1\/files\/file-1"}',
    ],
)
def test_no_spelling_hides_an_id(body: bytes) -> None:
    """Equal names, escapes, blanks, depth: a provider reads it, so it is read here."""
    json.loads(body)
    assert may_name(body, "passthrough")
    assert {"file-1", "files/file-1"} & _ids(body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_JSON, st.text(min_size=1), st.booleans())
def test_an_id_is_found_beside_anything(other: Any, name: str, ascii_only: bool) -> None:
    """Whatever stands before and behind it."""
    body = json.dumps({"a": other, "b": [other, {"file_id": name}, other]}, ensure_ascii=ascii_only)
    raw = body.encode("utf-8", "surrogatepass")
    assert any(named is not None and named.field == "file_id" for named in ids_in(raw))
    assert may_name(raw, "openai")


def test_a_large_body_gives_others_their_turn() -> None:
    """A million tokens are read in steps, and nothing of them is missed."""
    body = b'{"x":[' + b"{}," * 500_000 + b'{"file_id":"file-1"}]}'
    found = list(ids_in(body))
    assert found.count(None) == 100
    assert [one for one in found if one is not None] == [Named("file-1", "file_id")]


def test_names_of_gemini() -> None:
    """A name, an address, and what is neither."""
    assert object_name("files/abc") == "files/abc"
    assert object_name("https://g.example/v1beta/files/a%62c") == "files/abc"
    assert object_name("projects/p/locations/l/cachedContents/1") == "cachedContents/1"
    assert object_name("gs://bucket/files.txt") is None


def test_ids_in_a_form() -> None:
    """In a field of its own, or in one of a list."""
    body = (
        b'--b\r\ncontent-disposition: form-data; name="file_id"\r\n\r\nfile-1\r\n'
        b'--b\r\ncontent-disposition: form-data; name="images[0][file_id]"\r\n'
        b"content-type: text/plain\r\n\r\nfile-2\r\n"
        b'--b\r\ncontent-disposition: form-data; name="prompt"\r\n\r\nfile-3\r\n--b--\r\n'
    )
    assert {named.id for named in ids_of_form(body)} == {"file-1", "file-2"}


@pytest.mark.parametrize("field", ["assistant_id", "thread_id", "eval_id"])
def test_what_runs_another_object_names_it(field: str) -> None:
    """An assistant or a thread brings its files along."""
    found = [named for named in ids_in(b'{"%b": "x_1"}' % field.encode()) if named is not None]
    assert [(named.id, named.given) for named in found] == [("x_1", False)]
