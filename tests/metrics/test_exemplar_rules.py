"""Exemplars: a bucket's newest example by trace or request id, in OpenMetrics only."""

from __future__ import annotations

import time

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.pipeline.scene import ANSWER, FakeAnswer, FakeExchange, FakeUpstream, Scene, chat

from tidegate.memory import FIRST_WORKER_SLOT, Segment
from tidegate.metrics import page as page_module
from tidegate.metrics.families.requests import REQUEST_DURATION
from tidegate.metrics.page import MetricsPage
from tidegate.metrics.registry import Registry
from tidegate.metrics.series import EXEMPLAR_EVERY_S

OPENMETRICS = b"application/openmetrics-text"
NAME = REQUEST_DURATION.name
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def exemplars_of(body: bytes) -> dict[str, tuple[dict[str, str], float, float | None]]:
    """Parse a page with the client library; return the exemplars of request durations by `le`."""
    return {
        sample.labels["le"]: (
            sample.exemplar.labels, sample.exemplar.value, sample.exemplar.timestamp
        )
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.name == f"{NAME}_bucket" and sample.exemplar is not None
    }  # fmt: skip


async def test_a_bucket_shows_its_newest_example(segment: Segment) -> None:
    """Each bucket has its own; the label, the value and the time come back from the parser."""
    registry = Registry(segment, FIRST_WORKER_SLOT)
    series = registry.histogram(REQUEST_DURATION).labels("chat_completions", "false")
    page = MetricsPage(segment, registry)
    for value, label, text in (
        (0.02, "request_id", "req_1"), (0.021, "trace_id", TRACE), (7.0, "request_id", "req_3"),
    ):  # fmt: skip
        series.observe(value)
        series.exemplify(value, time.monotonic(), label, text)
    _, body = await page.render(OPENMETRICS, None)
    found = exemplars_of(body)
    assert found.keys() == {"0.025", "10.0"}
    assert found["0.025"][:2] == ({"trace_id": TRACE}, 0.021)
    assert found["10.0"][:2] == ({"request_id": "req_3"}, 7.0)
    stamp = found["10.0"][2]
    assert stamp is not None
    assert abs(float(stamp) - time.time()) < 60


async def test_the_text_format_has_none(segment: Segment) -> None:
    """0.0.4 has no exemplars: a `#` in a sample line would break its readers."""
    registry = Registry(segment, FIRST_WORKER_SLOT)
    series = registry.histogram(REQUEST_DURATION).labels("chat_completions", "false")
    series.observe(0.02)
    series.exemplify(0.02, time.monotonic(), "request_id", "req_1")
    _, body = await MetricsPage(segment, registry).render(None, None)
    assert b" # " not in body
    assert b"req_1" not in body


@pytest.mark.parametrize("text", ['a"} 1\nevil 1', "", "a b", "é", "x" * 101, "a\\"])
async def test_an_id_that_is_not_plain_is_not_taken(segment: Segment, text: str) -> None:
    """Whatever asks for it: only letters, digits, `_` and `-` get on the page, 100 at most."""
    registry = Registry(segment, FIRST_WORKER_SLOT)
    series = registry.histogram(REQUEST_DURATION).labels("chat_completions", "false")
    series.exemplify(0.02, time.monotonic(), "trace_id", text)
    assert series.exemplars == {}


async def test_an_old_example_leaves_the_page(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same one at each scrape for hours would be refused by Prometheus as out of order."""
    registry = Registry(segment, FIRST_WORKER_SLOT)
    series = registry.histogram(REQUEST_DURATION).labels("chat_completions", "false")
    page = MetricsPage(segment, registry)
    series.exemplify(0.02, time.monotonic(), "request_id", "req_1")
    assert b"req_1" in (await page.render(OPENMETRICS, None))[1]
    monkeypatch.setattr(page_module, "_EXEMPLAR_SHOWN_S", -1.0)
    assert b"req_1" not in (await page.render(OPENMETRICS, None))[1]


@pytest.mark.parametrize(
    ("header", "label"),
    [
        (PARENT, "trace_id"),
        (PARENT[:-1] + "0", "request_id"),  # not sampled: there is no such trace to look at
        (PARENT.upper(), "request_id"),
        (PARENT.replace("4bf9", '4b"9'), "request_id"),
        ("00-abc-def-01", "request_id"),
        (None, "request_id"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_is_found_by_its_sampled_trace_or_its_id(
    header: str | None, label: str, stream: bool
) -> None:
    """Durations and times to the first token carry what the operator can look up."""
    event = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    answer = FakeAnswer(pieces=[event]) if stream else FakeAnswer(body=ANSWER)
    scene = Scene({"m": [FakeUpstream(answer)]})
    headers = {} if header is None else {"traceparent": header}
    done = await scene.run(FakeExchange(body=chat(stream=stream), headers=headers))
    wanted = TRACE if label == "trace_id" else done.answer_headers["x-request-id"]
    kinds = [scene.meters.duration.labels("chat_completions", "true" if stream else "false")]
    if stream:
        kinds.append(scene.meters.ttft.labels("p0", "m-up"))
    for series in kinds:
        (kept,) = series.exemplars.values()
        assert (kept.label, kept.text) == (label, wanted)


async def test_a_series_takes_one_example_a_second_at_most() -> None:
    """What a busy gateway keeps costs it nothing: the next requests are not looked at."""
    scene = Scene({"m": [FakeUpstream(FakeAnswer(body=ANSWER))]})
    for _ in range(3):
        await scene.run(FakeExchange(body=chat()))
    series = scene.meters.duration.labels("chat_completions", "false")
    ids = {one.text for one in series.exemplars.values()}
    assert len(ids) == 1
    assert series.exemplar_due_s <= time.monotonic() + EXEMPLAR_EVERY_S
