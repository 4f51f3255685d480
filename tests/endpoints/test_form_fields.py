"""Forms: what is read out of them, and that nobody can read them otherwise."""

from __future__ import annotations

import email.parser
import email.policy
import time
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.dialects.openai.form import MAX_PARTS, FormFields, FormRequest
from tidegate.errors import BadRequest

TYPE = b"multipart/form-data; boundary=xyz"


def _part(name: bytes, value: bytes, more: bytes = b"") -> bytes:
    return b'Content-Disposition: form-data; name="' + name + b'"' + more + b"\r\n\r\n" + value


def _form(*parts: bytes) -> bytes:
    return b"".join(b"--xyz\r\n" + part + b"\r\n" for part in parts) + b"--xyz--\r\n"


def _read_by_another(content_type: bytes, body: bytes) -> list[tuple[str, bytes]]:
    """Return the fields as the standard library's mail parser reads them."""
    head = b"content-type: " + content_type + b"\r\n\r\n"
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    fields = []
    for part in message.iter_parts():
        value = part.get_payload(decode=True)
        assert isinstance(value, bytes)
        fields.append((str(part.get_param("name", header="content-disposition")), value))
    return fields


def test_the_three_fields_are_read_and_the_rest_is_left() -> None:
    """Model, stream and n, wherever they stand."""
    body = _form(
        _part(b"file", b"\x00" * 99, b'; filename="a.wav"'),
        _part(b"stream", b"true"),
        _part(b"n", b"3"),
        _part(b"model", "größer".encode()),
    )
    request = FormRequest(body, TYPE)
    assert (request.model, request.stream, request.choices) == ("größer", True, 3)


def test_another_model_changes_nothing_but_the_model() -> None:
    """The same bytes before and behind, and the caller's own where the name stays."""
    body = _form(_part(b"model", b"mine"), _part(b"file", b"RIFF", b'; filename="a"'))
    request = FormRequest(body, TYPE)
    assert request.body_for("mine", msgspec.Raw(b""), False) is body
    renamed = request.body_for("theirs-2", msgspec.Raw(b""), False)
    assert renamed == body.replace(b"mine", b"theirs-2")


def test_a_large_file_is_copied_once() -> None:
    """A renamed form of 25 MB takes 25 MB more, and no loop longer than 50 ms."""
    file = bytes(25 * 1024 * 1024)
    body = _form(_part(b"model", b"mine"), _part(b"file", file, b'; filename="a"'))
    del file
    tracemalloc.start()
    started = time.perf_counter()
    renamed = FormRequest(body, TYPE).body_for("theirs", msgspec.Raw(b""), False)
    took_s = time.perf_counter() - started
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(renamed) == len(body) + 2
    assert peak_bytes < len(body) * 1.1
    assert took_s < 0.5


def test_too_many_parts_are_refused() -> None:
    """A form is small; its parts are counted."""
    parts = [_part(b"a", b"")] * (MAX_PARTS + 1)
    with pytest.raises(BadRequest, match="parts"):
        FormFields(_form(*parts), TYPE, frozenset())


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/form-data", b"multipart/form-data; boundary=", b"multipart/mixed; boundary=xyz",
        b'multipart/form-data; boundary="xyz', b"multipart/form-data; boundary=xyz; charset=x",
        b"multipart/form-data; charset=x; boundary=xyz", b"multipart/form-data; boundary=x\xff",
        b"multipart/form-data; boundary=xyz, multipart/form-data; boundary=abc",
    ],
)  # fmt: skip
def test_content_types_that_leave_a_choice_are_refused(content_type: bytes) -> None:
    """One boundary, in one spelling."""
    with pytest.raises(BadRequest):
        FormFields(_form(_part(b"model", b"m")), content_type, frozenset())


@pytest.mark.parametrize("boundary", [b"xyz", b"a:b", b"----WebKitFormBoundaryA1", b"'()+_,-./:=?"])
def test_boundaries_of_browsers_and_sdks_are_read(boundary: bytes) -> None:
    """Quoted or not; what goes on is quoted where it has to be."""
    body = b"--%b\r\n%b\r\n--%b--" % (boundary, _part(b"model", b"m"), boundary)
    form = FormFields(body, b'multipart/form-data; boundary="' + boundary + b'"',
                      frozenset({b"model"}))  # fmt: skip
    assert form.text(b"model") == "m"
    assert _read_by_another(form.content_type, body) == [("model", b"m")]


_PIECES = st.sampled_from(
    [
        b"--xyz", b"--xyz\r\n", b"--xyz--", b"--xyz--\r\n", b"\r\n--xyz\r\n", b"\n--xyz\n", b"\r\n",
        b"\n", b"\r", b"--", b"Content-Disposition: form-data; ", b'name="model"', b"name=model",
        b'name="file"; filename="a"', b"\r\n\r\n", b"allowed", b"other", b" ", b"\t", b";", b"\x00",
        b"content-type: text/plain\r\n", b'name="model"; name="file"', b'filename="x"; ',
        b'content-disposition: form-data; name="model"\r\n\r\nother', b"--xyz \r\n", b"--xyzz\r\n",
        _part(b"model", b"allowed"), _part(b"file", b"RIFF", b'; filename="a"'),
    ]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=12), st.booleans())
def test_whatever_is_accepted_has_the_same_model_for_another_parser(
    pieces: list[bytes], framed: bool
) -> None:
    """A form is refused, or a parser that shares no code with ours finds the same one model."""
    body = b"".join(pieces)
    if framed:
        body = b"--xyz\r\n" + _part(b"model", b"allowed") + b"\r\n" + body + b"\r\n--xyz--\r\n"
    try:
        request = FormRequest(body, TYPE)
    except BadRequest:
        return
    models = [value for name, value in _read_by_another(TYPE, body) if name == "model"]
    assert models == [request.model.encode()]
