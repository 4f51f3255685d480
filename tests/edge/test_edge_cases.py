"""Every rule of the edge, by raw bytes, however they are cut and whatever stands around them."""

from __future__ import annotations

import pytest
from tests.edge.cases import CASES, GOOD, Case
from tests.edge.wire import Client, Edge, talk

from tidegate.edge.rules import RULES

BY_NAME = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))


def check(case: Case, client: Client, *, answers_before: int = 0) -> None:
    """Assert that *client* got the class of answer that *case* demands, and nothing more."""
    answers = [answer for answer in client.answers if answer.status != 100]
    assert len(answers) == answers_before + 1
    answer = answers[answers_before]
    assert (answer.status, answer.code) == (case.status, case.code)
    assert answer.whole
    assert client.edge.errors == []
    if case.code is None:
        assert answer.body == case.body
    else:
        assert client.has_ended
        assert answer.headers["connection"] == "close"
        assert "x-request-id" in answer.headers
    assert client.has_ended == (not case.stays)


def splits(case: Case) -> list[int]:
    """Return where to cut: everywhere, but for the middle of what is tens of kilobytes long."""
    size = len(case.sent)
    if size <= 700:
        return list(range(1, size))
    return [*range(1, 150), *range(150, size - 150, size // 24), *range(size - 150, size)]


def test_there_are_at_least_120_cases_with_names_of_their_own():
    """The table is the contract; a name is used once."""
    assert len(CASES) >= 120
    assert len({case.name for case in CASES}) == len(CASES)


def test_every_rule_has_a_case_that_breaks_it():
    """No rule without a raw-bytes test (those of time are in test_edge_timers)."""
    tested = {case.code for case in CASES} | {"header_timeout", "body_timeout"}
    assert set(RULES) - tested == set()


@BY_NAME
async def test_a_case_sent_whole_gets_its_answer(case):
    """One packet; and again on the same server, which now may know the head."""
    edge = Edge()
    check(case, await talk(edge, case.sent))
    check(case, await talk(edge, case.sent))
    if case.code is None:
        assert [seen.body for seen in edge.seen] == [case.body] * 2


@BY_NAME
async def test_a_case_split_at_any_byte_gets_the_same_answer(case):
    """Two packets, cut at each place; the loop turns between them."""
    edge = Edge()
    for at in splits(case):
        check(case, await talk(edge, case.sent[:at], case.sent[at:]))


@BY_NAME
async def test_a_case_sent_byte_by_byte_gets_the_same_answer(case):
    """As many packets as bytes, up to the byte that decides."""
    edge = Edge()
    check(case, await talk(edge, *(case.sent[n : n + 1] for n in range(len(case.sent)))))


@BY_NAME
async def test_a_case_behind_a_good_request_comes_second(case):
    """The good one is answered first and in full, then the case."""
    edge = Edge()
    both = GOOD + case.sent
    client = await talk(edge, both)
    check(case, client, answers_before=1)
    assert client.answers[0].status == 200
    assert client.answers[0].body == b"good"
    cut = len(GOOD) - 1
    check(case, await talk(edge, both[:cut], both[cut:]), answers_before=1)


@BY_NAME
async def test_a_good_request_behind_a_case_is_served_only_if_the_case_was(case):
    """After a refusal nothing is executed: where the next request begins is unknown."""
    edge = Edge()
    client = await talk(edge, case.sent + GOOD)
    answers = [answer for answer in client.answers if answer.status != 100]
    assert (answers[0].status, answers[0].code) == (case.status, case.code)
    served = [seen.path for seen in edge.seen].count(b"/good")
    assert (len(answers), served) == ((2, 1) if case.stays else (1, 0))
    assert client.has_ended == (not case.stays)


@BY_NAME
async def test_a_case_after_an_answered_request_gets_the_same_answer(case):
    """Not pipelined: the second request of a kept connection."""
    edge = Edge()
    check(case, await talk(edge, GOOD, case.sent), answers_before=1)
