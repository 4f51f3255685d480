"""A defect of ours in a turn costs its requests an error, and nobody anything else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.turns.stand import Gate, Provider, Stand, chat, config, until

from tidegate.ledger.journal import Journal

MakeStand = Callable[..., Stand]


class Defect:
    """Stands where `Journal.append` stands; breaks it while told to."""

    is_there = False

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = Journal.append

        def append(journal: Journal, opens: list[bytes], settles: list[bytes]) -> bool:
            if self.is_there:
                raise RuntimeError("a defect")
            return whole(journal, opens, settles)

        monkeypatch.setattr(Journal, "append", append)


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch) -> Defect:
    """What breaks the ledger."""
    return Defect(monkeypatch)


@pytest.mark.parametrize("short", [True, False])
async def test_a_request_that_ends_in_a_defect_is_no_longer_in_flight(
    make_stand: MakeStand, up: Provider, defect: Defect, short: bool
) -> None:
    """The gauge falls again, as its answer leaves."""
    stand = make_stand(config(up), short=short)
    connection = await stand.connect()
    assert (await connection.ask(chat())).status == 200
    defect.is_there = True
    assert [(await connection.ask(chat())).status for _ in range(3)] == [500] * 3
    defect.is_there = False
    stand.errors.clear()
    assert await stand.in_flight() == 0


@pytest.mark.parametrize("short", [True, False])
async def test_a_request_that_ends_in_a_defect_is_counted_and_logged(
    make_stand: MakeStand, up: Provider, defect: Defect, short: bool
) -> None:
    """As every other is; clients and page agree on how many failed."""
    stand = make_stand(config(up), short=short)
    connection = await stand.connect()
    assert (await connection.ask(chat())).status == 200
    defect.is_there = True
    assert [(await connection.ask(chat())).status for _ in range(3)] == [500] * 3
    defect.is_there = False
    stand.errors.clear()
    page = await stand.page()
    assert page['tidegate_requests_total{endpoint="chat_completions",status="500"}'] == 3
    await stand.close()
    assert [line["status"] for line in stand.lines()] == [200, 500, 500, 500]


@pytest.mark.parametrize("short", [True, False])
async def test_a_request_that_ends_in_a_defect_gives_its_place_under_a_limit_back(
    make_stand: MakeStand, up: Provider, defect: Defect, short: bool
) -> None:
    """Else a few defects would shut a key out until its worker ends."""
    stand = make_stand(
        config(up, limits="  one: {per: key, concurrency: 1}", default="one"), short=short
    )
    connection = await stand.connect()
    assert (await connection.ask(chat())).status == 200
    defect.is_there = True
    assert [(await connection.ask(chat())).status for _ in range(4)] == [500] * 4
    defect.is_there = False
    stand.errors.clear()
    assert (await connection.ask(chat())).status == 200


async def test_a_defect_at_the_end_of_an_answer_leaves_no_request_without_one(
    make_stand: MakeStand, up: Provider, defect: Defect
) -> None:
    """Its client is told of the failure, and the worker goes on."""
    stand = make_stand(config(up))
    connection = await stand.connect()
    assert (await connection.ask(chat())).status == 200
    up.behave = gate = Gate()
    connection.send(chat())
    await until(lambda: gate.waiting == 1)
    defect.is_there = True
    gate.open()
    assert (await connection.answer()).status in (200, 500)
    defect.is_there = False
    stand.errors.clear()  # that it was reported is right
    assert (await connection.ask(chat())).status == 200
    assert await stand.in_flight() == 0


async def test_a_defect_of_one_request_does_not_take_the_others_of_its_turn_away(
    make_stand: MakeStand, up: Provider, defect: Defect
) -> None:
    """All that came together get an answer, whatever it is; none waits for ever."""
    stand = make_stand(config(up))
    crowd = [await stand.connect() for _ in range(20)]
    up.behave = gate = Gate()
    for connection in crowd:
        connection.send(chat())
    await until(lambda: gate.waiting == len(crowd))
    gate.open()
    for connection in crowd:
        assert (await connection.answer()).status == 200
    up.behave = up.usual
    defect.is_there = True
    for connection in crowd:
        connection.send(chat())
    assert {(await connection.answer()).status for connection in crowd} == {500}
    defect.is_there = False
    stand.errors.clear()
    for connection in crowd:
        assert (await connection.ask(chat())).status == 200
