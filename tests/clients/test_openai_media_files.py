"""Files, batches and a provider's own paths, through the official openai package and by hand."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2 as httpx
import openai
import pytest
from tests.contract.raw_requests import get, until
from tests.fakes.media_upstream import KEY, MediaUpstream
from tests.running import RunningGateway, counters

pytestmark = pytest.mark.process

ANN = "tg-files-ann-0123456789"
BEN = "tg-files-ben-0123456789"
NARROW = "tg-files-narrow-0123456789"
LINES = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"x"}}\n'


@pytest.fixture(scope="module")
def upstream() -> Iterator[MediaUpstream]:
    with MediaUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def other() -> Iterator[MediaUpstream]:
    with MediaUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    upstream: MediaUpstream, other: MediaUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    config = f"""
providers:
  acme: {{kind: openai-compatible, base_url: "{upstream.url}", api_key: env:ACME_KEY,
          passthrough: true, headers: {{openai-project: ours}}}}
  other: {{kind: openai-compatible, base_url: "{other.url}", api_key: env:ACME_KEY}}
models:
  near: {{targets: [acme/gpt]}}
limits:
  wide: {{per: key, requests: 1000000, window: 1m}}
keys:
  ann: {{secret: env:ANN_KEY, limits: [wide]}}
  ben: {{secret: env:BEN_KEY}}
  narrow: {{secret: env:NARROW_KEY, models: [near]}}
"""
    folder = tmp_path_factory.mktemp("files")
    environment = {"ACME_KEY": KEY, "ANN_KEY": ANN, "BEN_KEY": BEN, "NARROW_KEY": NARROW}
    with RunningGateway(folder, config, environment=environment, workers=2) as running:
        yield running


def _client(gateway: RunningGateway, key: str, provider: str | None = "acme") -> openai.OpenAI:
    headers = {} if provider is None else {"x-tidegate-provider": provider}
    return openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key=key, max_retries=0, default_headers=headers
    )


@pytest.fixture
def ann(gateway: RunningGateway) -> Iterator[openai.OpenAI]:
    with _client(gateway, ANN) as client:
        yield client


@pytest.fixture
def ben(gateway: RunningGateway) -> Iterator[openai.OpenAI]:
    with _client(gateway, BEN) as client:
        yield client


@pytest.fixture
def raw(gateway: RunningGateway) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {ANN}"}
    with httpx.Client(base_url=gateway.url, headers=headers, timeout=20) as raw:
        yield raw


def test_a_file_lives_from_upload_to_deletion(ann: openai.OpenAI, upstream: MediaUpstream) -> None:
    """Made, read, its content streamed, and gone."""
    made = ann.files.create(file=("b.jsonl", LINES), purpose="batch")
    assert upstream.last.headers["authorization"] == f"Bearer {KEY}"
    assert ann.files.retrieve(made.id).bytes == len(LINES)
    assert ann.files.content(made.id).content == LINES
    assert ann.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        ann.files.retrieve(made.id)


def test_no_key_reaches_what_another_has_made(
    ann: openai.OpenAI, ben: openai.OpenAI, upstream: MediaUpstream
) -> None:
    """Not to read, not to delete, not to run, not in a list; the provider is not even asked."""
    hers = ann.files.create(file=("b.jsonl", LINES), purpose="batch")
    before = len(upstream.seen)
    for forbidden in (
        lambda: ben.files.retrieve(hers.id),
        lambda: ben.files.content(hers.id),
        lambda: ben.files.delete(hers.id),
        lambda: ben.files.list(after=hers.id),
        lambda: ben.batches.create(
            input_file_id=hers.id, endpoint="/v1/chat/completions", completion_window="24h"
        ),
    ):
        with pytest.raises(openai.NotFoundError):
            forbidden()
    assert len(upstream.seen) == before
    his = ben.files.create(file=("c.jsonl", LINES), purpose="batch")
    assert [one.id for one in ben.files.list()] == [his.id]
    assert hers.id in [one.id for one in ann.files.list()]
    assert his.id not in [one.id for one in ann.files.list()]


def test_a_list_is_paged_through_all_that_is_between(
    ann: openai.OpenAI, ben: openai.OpenAI
) -> None:
    """Limit and order hold for one's own; the SDK's paging finds each once."""
    mine = []
    for number in range(5):
        mine.append(ann.files.create(file=("p", b"x"), purpose="user_data").id)
        for _ in range(number):
            ben.files.create(file=("p", b"x"), purpose="user_data")
    page = ann.files.list(limit=2)
    assert len(page.data) == 2
    assert page.has_more
    found = [one.id for one in page]
    assert len(found) == len(set(found))
    assert set(mine) <= set(found)
    with pytest.raises(openai.BadRequestError):
        ann.files.list(limit=0)


def test_a_batch_and_what_it_writes_are_its_makers(ann: openai.OpenAI, ben: openai.OpenAI) -> None:
    """Made from one's own file, read, cancelled; its output is a file of the same key."""
    source = ann.files.create(file=("b.jsonl", LINES), purpose="batch")
    made = ann.batches.create(
        input_file_id=source.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    with pytest.raises(openai.NotFoundError):
        ben.batches.retrieve(made.id)
    done = ann.batches.retrieve(made.id)
    assert done.output_file_id is not None
    assert ann.files.content(done.output_file_id).content == b"done"
    with pytest.raises(openai.NotFoundError):
        ben.files.content(done.output_file_id)
    assert [one.id for one in ann.batches.list()] == [made.id]
    assert list(ben.batches.list()) == []
    with pytest.raises(openai.NotFoundError):
        ben.batches.cancel(made.id)
    assert ann.batches.cancel(made.id).status == "cancelling"


def test_the_provider_is_named_or_is_the_only_one(
    gateway: RunningGateway, upstream: MediaUpstream, other: MediaUpstream
) -> None:
    """Two could take it: 400 that says how to choose. A key's models may leave only one."""
    with _client(gateway, ANN, None) as open_key:
        with pytest.raises(openai.BadRequestError, match="x-tidegate-provider"):
            open_key.files.create(file=("b", b"x"), purpose="batch")
        made = open_key.files.create(
            file=("b", b"x"), purpose="batch", extra_query={"provider": "other"}
        )
        assert other.objects[made.id]["bytes"] == 1
        assert "provider" not in other.last.query
        assert open_key.files.retrieve(made.id).id == made.id
        with pytest.raises(openai.BadRequestError, match="there are: acme, other"):
            open_key.files.list(extra_query={"provider": "nobody"})
    with _client(gateway, NARROW, None) as narrow:
        made = narrow.files.create(file=("b", b"x"), purpose="batch")
        assert upstream.objects[made.id]["bytes"] == 1
        with pytest.raises(openai.BadRequestError):
            narrow.files.list(extra_query={"provider": "other"})
        with pytest.raises(openai.PermissionDeniedError):
            narrow.batches.create(
                input_file_id=made.id, endpoint="/v1/chat/completions", completion_window="24h"
            )


def test_ids_that_are_no_ids_are_unknown(raw: httpx.Client, upstream: MediaUpstream) -> None:
    """Nothing of a path but a plain id gets as far as a provider."""
    before = len(upstream.seen)
    for path in ("..", "..%2fmodels", "a%00b", "a/../b", "x/content/y", "a/other", "%2e%2e"):
        answer = raw.get(f"/v1/files/{path}".replace("..", "%2e%2e"))
        assert answer.status_code in (400, 404)
    assert get(
        raw.base_url.port or 0, "/v1/files/../models", f"authorization: Bearer {ANN}"
    ).status in (400, 404)
    assert len(upstream.seen) == before


def test_what_a_key_has_made_outlives_a_killed_worker(
    gateway: RunningGateway, ann: openai.OpenAI
) -> None:
    """Both workers know it at once, and so does the next after a kill -9."""
    made = ann.files.create(file=("b", b"x"), purpose="user_data")
    process = gateway.process
    assert process is not None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [
        int(pid) for pid in children if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert len(workers) == 2, children
    for pid in workers:
        os.kill(pid, signal.SIGKILL)

    def served() -> bool:
        try:
            with _client(gateway, ANN) as fresh:
                return fresh.files.retrieve(made.id).id == made.id
        except openai.APIConnectionError:
            return False

    until(served, "the file is known again")


# --- a provider's own paths -------------------------------------------------------------------


def test_a_request_passes_with_our_credential_and_without_the_clients(
    raw: httpx.Client, upstream: MediaUpstream, gateway: RunningGateway
) -> None:
    """Method, path, query and body arrive; of the headers, those on the list."""
    answer = raw.request(
        "PATCH",
        "/acme/echo?a=1&key=tg-stolen&api_%6bey=x&b=%20",
        content=b"\x00\x01binary",
        headers={
            "content-type": "application/x-own",
            "accept": "text/plain",
            "cookie": "a=b",
            "x-forwarded-for": "1.2.3.4",
            "anthropic-beta": "dropped",
            "te": "trailers",
            "openai-project": "theirs",
            "connection": "keep-alive, anthropic-beta",
        },
    )
    told = answer.json()
    assert (told["method"], told["query"], told["bytes"]) == ("PATCH", "a=1&b=%20", 8)
    assert told["headers"]["authorization"] == f"Bearer {KEY}"
    assert told["headers"]["content-type"] == "application/x-own"
    assert told["headers"]["accept"] == "text/plain"
    assert told["headers"]["openai-project"] == "ours"
    assert ANN not in str(told)
    for name in ("cookie", "x-forwarded-for", "anthropic-beta", "te"):
        assert name not in told["headers"]
    assert "set-cookie" not in answer.headers
    assert answer.headers["x-tidegate-provider"] == "acme"
    assert answer.headers["x-ratelimit-limit-requests"] == "1000000"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "POST", "PUT"])
def test_every_method_has_one_ledger_row(
    raw: httpx.Client, gateway: RunningGateway, method: str
) -> None:
    """The endpoint of the row and of the metrics is `passthrough`."""
    before = counters(gateway.page())("tidegate_requests_total", endpoint="passthrough")
    answer = raw.request(method, "/acme/echo")
    assert answer.status_code == 200
    after = counters(gateway.page())("tidegate_requests_total", endpoint="passthrough")
    assert after == before + 1
    request_id = answer.headers["x-request-id"]

    def rows() -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(gateway.data_dir / "tidegate.db")) as database:
            return database.execute(
                "SELECT endpoint, provider, outcome, usage_source FROM ledger_attempts "
                "WHERE attempt_id LIKE ? AND outcome IS NOT NULL",
                (request_id + ":%",),
            ).fetchall()

    until(rows, "the row is folded")
    assert rows() == [("passthrough", "acme", "ok", "none")]


@pytest.mark.parametrize(
    "path",
    [
        "/acme/../echo", "/acme/./echo", "/acme//echo", "/acme/a/..;x/echo", "/acme/%2e%2e/echo",
        "/acme/a%2fecho", "/acme/a%5cecho", "/acme/a\\echo", "/acme/a%252fecho", "/acme/%0d%0ax",
        "/acme/%zz", "/acme/http://127.0.0.1/echo", "/acme/a%00", "/acme/..", "/acme/a/..",
    ],
)  # fmt: skip
def test_paths_that_play_tricks_are_refused(
    gateway: RunningGateway, upstream: MediaUpstream, path: str
) -> None:
    """400, and the provider hears nothing."""
    before = len(upstream.seen)
    answer = get(gateway.port, path, f"authorization: Bearer {ANN}")
    assert answer.status == 400, answer.body
    assert len(upstream.seen) == before


@pytest.mark.parametrize(
    "path",
    ["/acme/files", "/acme/%66iles/file-1/content", "/acme/Responses/resp_1", "/acme/batches;x"],
)
def test_objects_of_another_key_cannot_be_reached_directly(
    gateway: RunningGateway, upstream: MediaUpstream, path: str
) -> None:
    """403, however the collection is spelled: only /v1 knows whose an object is."""
    before = len(upstream.seen)
    answer = get(gateway.port, path, f"authorization: Bearer {ANN}")
    assert answer.status == 403, answer.body
    assert len(upstream.seen) == before


def test_the_absolute_form_goes_nowhere_else(
    gateway: RunningGateway, upstream: MediaUpstream
) -> None:
    """A target with another host is refused at the door."""
    before = len(upstream.seen)
    answer = get(gateway.port, "http://127.0.0.1:1/acme/echo", f"authorization: Bearer {ANN}")
    assert answer.status == 400
    assert len(upstream.seen) == before


def test_nobody_passes_without_the_right(gateway: RunningGateway, raw: httpx.Client) -> None:
    """No key, a key with models, a provider that is not opened, TRACE, and no path at all."""
    assert get(gateway.port, "/acme/echo").status == 401
    assert get(gateway.port, "/acme/echo", f"authorization: Bearer {NARROW}").status == 403
    assert raw.get("/other/echo").status_code == 404
    assert raw.get("/nobody/echo").status_code == 404
    assert raw.get("/acme").status_code == 404
    assert get(gateway.port, "/acme/echo", f"authorization: Bearer {ANN}",
               method="TRACE").status == 405  # fmt: skip


def test_a_providers_refusals_keep_their_words(raw: httpx.Client) -> None:
    """4xx as they are; a redirect, which could lead anywhere, is no answer."""
    conflict = raw.get("/acme/conflict")
    assert conflict.status_code == 409
    assert conflict.json()["error"]["message"] == "it is there already"
    assert raw.get("/acme/nowhere").status_code == 404
    moved = raw.get("/acme/elsewhere", follow_redirects=False)
    assert moved.status_code == 502
    assert "location" not in moved.headers


def test_a_long_answer_is_streamed_and_stops_with_its_reader(
    raw: httpx.Client, upstream: MediaUpstream
) -> None:
    """The first piece is there while the rest is not; who leaves ends it."""
    before = upstream.broken
    with raw.stream("GET", "/acme/endless") as answer:
        assert next(answer.iter_bytes())
    deadline = time.monotonic() + 5
    while upstream.broken == before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert upstream.broken == before + 1


def test_no_credential_is_in_the_log(gateway: RunningGateway) -> None:
    """Neither ours nor a client's."""
    text = gateway.log.read_text()
    for secret in (KEY, ANN, BEN, NARROW, "tg-stolen"):
        assert secret not in text
