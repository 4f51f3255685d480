"""Names, units and label sets of every declared family."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.metrics.families import declared
from tidegate.metrics.family import Family
from tidegate.metrics.reference import render

HERE = Path(__file__).parent
REFERENCE = HERE.parents[1] / "docs" / "reference" / "metrics.md"

FAMILIES = declared()
BY_NAME = {family.name: family for family in FAMILIES}
FOREIGN = ("process_", "python_")
SEED = ("rate_limit_allowed_total", "rate_limit_blocked_total")

each = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


@each
def test_names_have_our_prefix_or_a_known_one(family: Family) -> None:
    """Only the seed's two counters and the client libraries' own names go without `tidegate_`."""
    assert family.name in SEED or family.name.startswith(("tidegate_", *FOREIGN))


@each
def test_histograms_are_in_seconds_and_have_few_buckets(family: Family) -> None:
    """Base units (or a rate in them) only; one short list each."""
    if family.kind == "histogram":
        assert family.name.endswith(("_seconds", "_per_second"))
        assert 8 <= len(family.buckets) <= 15


@each
def test_units_are_base_units_at_the_end_of_the_name(family: Family) -> None:
    """No milliseconds, no kilobytes, no percent; a unit stands before `_total` or last."""
    words = family.name.split("_")
    for wrong in ("ms", "milliseconds", "us", "kb", "mb", "percent", "count", "sum", "bucket"):
        assert wrong not in words
    stem = family.name.removesuffix("_total")
    for unit in ("seconds", "bytes", "usd"):
        if unit in words:
            assert stem.endswith(f"_{unit}")


@each
def test_the_reference_says_when_it_moves(family: Family) -> None:
    """A number nobody knows how to read is of no use."""
    assert family.moves or family.computed


@each
def test_names_do_not_repeat_their_labels(family: Family) -> None:
    """A label's name stands in the braces, not in the metric's name as `by_…`."""
    assert "_by_" not in family.name
    assert family.kind not in family.name.split("_")


@each
def test_help_is_a_sentence(family: Family) -> None:
    """Help of ours starts with a capital or a number and ends with a full stop."""
    if not family.name.startswith((*FOREIGN, *SEED)):
        assert family.help[0].isupper() or family.help[0].isdigit()
        assert family.help.endswith(".")


@each
def test_labels_have_closed_sets_or_come_from_the_configuration(family: Family) -> None:
    """An open label is one of the few that name configured or built-in things."""
    configured = {"endpoint", "provider", "model", "limit", "worker", "family", "version"}
    configured |= {"key", "team"}  # of keys that the operator made, never of a request
    configured |= {"dialect_in", "dialect_out", "field"}  # words of the dialects' code
    platform = {"implementation", "major", "minor", "patchlevel"}
    for label in set(family.labels) - set(family.values):
        rule_of_the_edge = (family.name, label) == ("tidegate_edge_refusals_total", "reason")
        assert label in configured | platform or rule_of_the_edge


def test_the_seeds_counters_keep_their_help_and_have_no_labels() -> None:
    """Dashboards that were made for the seed find one series of each, with its text."""
    for word in ("allowed", "blocked"):
        family = BY_NAME[f"rate_limit_{word}_total"]
        assert family.help == f"Total number of requests {word} by rate limiter"
        assert family.labels == ()


def test_the_names_are_those_that_were_published() -> None:
    """A name that others' dashboards use is not changed by accident."""
    shown = [
        f"{f.kind} {f.name}" + ("{" + ",".join(f.labels) + "}" if f.labels else "")
        for f in FAMILIES
    ]
    golden = (HERE / "golden_names.txt").read_text().splitlines()
    assert shown == golden


def test_the_reference_is_what_the_declarations_say() -> None:
    """`python -m tidegate.metrics.reference docs/reference/metrics.md` changes nothing."""
    assert REFERENCE.read_text(encoding="utf-8") == render()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "tidegate_things"}, "end in _total"),
        ({"name": "tidegate_things_total", "kind": "gauge"}, "end in _total"),
        ({"name": "Tidegate_total"}, "snake case"),
        ({"labels": ("a-b",)}, "snake case"),
        ({"labels": ("a", "a")}, "unique"),
        ({"labels": ("le",)}, "unique"),
        ({"help": "two\nlines"}, "one line"),
        ({"help": 'a "quote"'}, "one line"),
        ({"values": {"b": frozenset({"x"})}}, "not there"),
        ({"buckets": (1.0,)}, "buckets"),
        ({"former_name": "tidegate_x"}, "end in _total"),
        ({"former_name": "tidegate_x_total"}, "another one"),
        ({"name": "tidegate_x", "kind": "gauge", "merge": "latest"}, "computed"),
        ({"name": "tidegate_s", "kind": "histogram"}, "buckets"),
        ({"name": "tidegate_s", "kind": "histogram", "buckets": (2.0, 1.0)}, "ascend"),
        ({"name": "tidegate_s", "kind": "histogram", "buckets": (1.0, float("inf"))}, "finite"),
    ],
)
def test_a_wrong_declaration_is_refused(changes: dict[str, object], reason: str) -> None:
    """Mistakes show when the file is imported, not on somebody's page."""
    fields: dict[str, object] = {"name": "tidegate_x_total", "kind": "counter", "help": "X."}
    with pytest.raises(ValueError, match=reason):
        Family(**{**fields, **changes})
