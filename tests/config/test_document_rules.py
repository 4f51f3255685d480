"""YAML is read strictly: nothing means something else than it looks like."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.config.document import MAX_FILE_BYTES, parse_document, read_document
from tidegate.errors import ConfigError


def parse(text: str | bytes) -> dict[str, object]:
    """Return the data of YAML *text*."""
    return parse_document(text.encode() if isinstance(text, str) else text, "x.yaml").data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("False", False), ("yes", "yes"), ("on", "on"), ("NO", "NO"), ("y", "y"),
        ("12:30", "12:30"), ("010", 10), ("0x1f", 31), ("0o17", 15), ("1_000", "1_000"),
        ("0b11", "0b11"), ("1e3", 1000.0), (".5", 0.5), ("~", None), ("", None), ("null", None),
        ("2027-01-31", "2027-01-31"), (".inf", ".inf"), ("1.2.3.4", "1.2.3.4"), ("+1", 1),
        ("'true'", "true"), ("-", [None]),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    """Only `true` and `false` are booleans, times and dates are text, `010` is ten."""
    assert parse(f"a: {text}" if text != "-" else "a:\n-") == {"a": value}


def test_every_name_given_twice_is_told_with_both_lines() -> None:
    """A second `limits` would silently replace the first."""
    with pytest.raises(ConfigError) as caught:
        parse("a:\n  b: 1\n  b: 2\na: 3\n")
    assert caught.value.problems == [
        ("a.b", "is given twice, first on line 2 (line 3)"),
        ("a", "is given twice, first on line 1 (line 4)"),
    ]


def test_a_name_that_is_no_text_asks_for_quotes() -> None:
    """`4: …` would be a model that no request can name."""
    with pytest.raises(ConfigError) as caught:
        parse("models: {4: {}}")
    assert caught.value.problems == [("models.4", 'names are text: write "4" (line 1)')]


def test_anchors_and_merges_work() -> None:
    """One block can be used twice, and changed where it is merged."""
    assert parse("a: &x {p: 1, q: 2}\nb: *x\nc: {<<: *x, q: 3}") == {
        "a": {"p": 1, "q": 2},
        "b": {"p": 1, "q": 2},
        "c": {"p": 1, "q": 3},
    }


def test_a_bomb_of_aliases_is_refused_before_it_grows() -> None:
    """Ten levels of ten aliases would be ten billion values."""
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 10):
        inside = ", ".join([f"*{chr(96 + level)}"] * 10)
        bomb += f"{chr(97 + level)}: &{chr(97 + level)} [{inside}]\n"
    with pytest.raises(ConfigError, match="too many or too deeply"):
        parse(bomb)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]", "[" * 5000, "{" * 100_000, "a: " + "- " * 5000, "a: !!python/object:os.x {}",
        "a: 1\n---\nb: 2", "just text", "- a", "a: [", "\t", "a: 'x", "%YAML 9.9\n---\na: 1",
        "a: " + "9" * 5000, "? [a]\n: b", b"a: \xff", b"\x00", "a: *nobody", "a: b: c",
    ],
)  # fmt: skip
def test_what_is_no_plain_document_is_a_config_error(text: str | bytes) -> None:
    """Loops, depth, tags, several documents, broken bytes: never another exception."""
    with pytest.raises(ConfigError):
        parse(text)


@given(st.text(alphabet="ab:{}[],&*!|>-?'\"\n #%@`<~0", max_size=60))
def test_any_text_is_data_or_a_config_error(text: str) -> None:
    """The reader has no third way to end."""
    try:
        data = parse(text)
    except ConfigError:
        return
    assert isinstance(data, dict)


def test_files_over_the_cap_and_odd_files_are_refused(tmp_path: Path) -> None:
    """A wrong path must not fill the memory or hang the start."""
    big = tmp_path / "big.yaml"
    big.write_bytes(b"# " + b"x" * MAX_FILE_BYTES)
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        read_document(big)
    for path in (tmp_path, tmp_path / "missing.yaml", Path("/dev/zero")):
        with pytest.raises(ConfigError, match=r"cannot be read|regular file"):
            read_document(path)
