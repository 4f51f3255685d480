"""Real processes: SIGHUP puts a configuration in force everywhere, or nowhere."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from double_run import DoubleRun, read_all, running, wait_for

pytestmark = pytest.mark.process

GOOD = "models: {{{name}: {{targets: [{{provider: demo, model: demo}}]}}}}\n"


def test_a_reload_is_in_force_on_every_worker_and_cuts_nothing(tmp_path: Path) -> None:
    """Running streams go on; the generation rises on all."""
    with running(tmp_path, workers=2, config=GOOD.format(name="one")) as run:
        pids = run.worker_pids()
        stream = run.open_stream(20)
        reload(run, GOOD.format(name="two"))
        wait_for(lambda: run.events("configuration reloaded"), "the reload")
        wait_for(lambda: {run.told("generation") for _ in range(8)} == {"2"}, "generation 2")
        assert b"[DONE]" in read_all(stream)
        assert run.worker_pids() == pids


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("models: {one: {targets: []", "gateway.yaml"),
        ("servers: {}", "servers"),
        (GOOD.format(name="refuse-me"), "the double refuses this"),
    ],
)
def test_a_bad_configuration_leaves_the_old_one_in_force(
    tmp_path: Path, text: str, reason: str
) -> None:
    """Whether the file, a setting or the data plane refuses it; workers started later too."""
    with running(tmp_path, workers=2, config=GOOD.format(name="one")) as run:
        reload(run, text)
        event = wait_for(
            lambda: run.events("configuration refused, the old one stays"), "the refusal"
        )[0]
        assert reason in str(event["problems"])
        assert {run.told("generation") for _ in range(8)} == {"1"}
        os.kill(run.worker_pids()[0], signal.SIGKILL)
        wait_for(lambda: len(run.events("process ready")) == 4, "the next worker")
        assert {run.told("generation") for _ in range(8)} == {"1"}
        reload(run, GOOD.format(name="good-again"))
        wait_for(lambda: run.events("configuration reloaded"), "the next reload")


def test_a_configuration_that_kills_reaches_one_worker_only(tmp_path: Path) -> None:
    """The others never see it; the dead one's successor has the old one."""
    with running(tmp_path, workers=2, config=GOOD.format(name="one")) as run:
        reload(run, GOOD.format(name="kill-me"))
        wait_for(lambda: run.events("configuration refused, the old one stays"), "the refusal")
        wait_for(lambda: len(run.events("process ready")) == 4, "the next worker")
        assert len(run.events("process ended")) == 1
        assert {run.told("generation") for _ in range(8)} == {"1"}


def test_what_needs_a_restart_is_named_and_left(tmp_path: Path) -> None:
    """The number of workers stays; the rest of the file is in force."""
    text = "server: {hang_timeout: 20s}\n"
    with running(tmp_path, config=text) as run:
        reload(run, "server: {hang_timeout: 30s}\n" + GOOD.format(name="new"))
        wait_for(lambda: run.events("configuration reloaded"), "the reload")
        event = run.events("changed, but takes effect only at a restart")[0]
        assert event["setting"] == "server.hang_timeout"


def test_a_key_taken_out_of_the_file_is_gone_after_a_reload(tmp_path: Path) -> None:
    """And one put in is there; keys of the store stay."""
    environment = {"A": "tg-aaaaaaaaaaaaaaaaaaaaaa", "B": "tg-bbbbbbbbbbbbbbbbbbbbbb"}
    first = "keys: {a: {secret: env:A}}\n"
    with running(tmp_path, workers=2, config=first, environment=environment) as run:
        assert run.known_keys() == {"a"}
        reload(run, "keys: {b: {secret: env:B}}\n")
        wait_for(
            lambda: {*run.known_keys(), *run.known_keys(), *run.known_keys()} == {"b"},
            "the other key",
        )


def test_many_reloads_in_a_row_end_with_the_last_file(tmp_path: Path) -> None:
    """Signals that come while a reload runs are not lost."""
    with running(tmp_path, workers=2, config=GOOD.format(name="m0")) as run:
        for number in range(1, 20):
            reload(run, GOOD.format(name=f"m{number}"))
        reload(run, "keys: {last: {secret: env:LAST_KEY}}\n")
        wait_for(lambda: run.events("configuration refused, the old one stays"), "the last one")
        reload(run, GOOD.format(name="end"))
        wait_for(lambda: {run.told("generation") for _ in range(8)} != {"1"}, "a new generation")
        assert len(run.worker_pids()) == 2
        assert run.events("process ended") == []


def reload(run: DoubleRun, text: str) -> None:
    """Write the file as a whole, then signal."""
    draft = run.config.with_suffix(".new")
    draft.write_text(text)
    draft.rename(run.config)
    run.signal(signal.SIGHUP)
