"""Who may read the metrics page: addresses, tokens, and what a refusal looks like."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.raw_requests import PATHS, get
from tests.running import RunningGateway, counters

pytestmark = pytest.mark.process

TOKEN = "scrape-0123456789abcdef"
BASE = """
providers: {demo: {}}
models: {mine: {targets: [demo/demo]}}
keys: {k: {secret: env:ACCESS_KEY}}
"""
ENVIRONMENT = {"ACCESS_KEY": "tg-access-0123456789abcdef", "SCRAPE_TOKEN": TOKEN}


def basic(user: str, password: str) -> str:
    """Return the header line of basic authentication."""
    packed = base64.b64encode(f"{user}:{password}".encode()).decode()
    return f"Authorization: Basic {packed}"


def served(folder: Path, config: str) -> Iterator[RunningGateway]:
    """Run one gateway for several tests."""
    with RunningGateway(folder, config + BASE, environment=ENVIRONMENT) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def token_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway whose page needs a token."""
    folder = tmp_path_factory.mktemp("token")
    yield from served(folder, "metrics: {access: token, token: env:SCRAPE_TOKEN}")


@pytest.fixture(scope="module")
def proxied_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway that believes 127.0.0.2 and shows its page to three networks."""
    config = """
server: {trusted_proxies: [127.0.0.2]}
metrics: {networks: [10.1.0.0/16, "fd00::/8", "::ffff:192.0.2.0/120", 127.0.0.9]}
"""
    yield from served(tmp_path_factory.mktemp("networks"), config)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "line",
    [
        f"Authorization: Bearer {TOKEN}",
        f"authorization: bearer {TOKEN}",
        basic("prometheus", TOKEN),
        basic("", TOKEN),
    ],
)
def test_the_token_opens_the_page_as_bearer_and_as_any_users_password(
    token_gateway: RunningGateway, path: str, line: str
) -> None:
    """Prometheus' `authorization` and its `basic_auth` both work."""
    answer = get(token_gateway.port, path, line)
    assert answer.status == 200
    assert "rate_limit_allowed_total" in answer.body


@pytest.mark.parametrize(
    "line",
    [
        "x-nothing: 1",
        f"Authorization: Bearer {TOKEN[:-1]}",
        f"Authorization: Bearer {TOKEN}x",
        "Authorization: Bearer",
        f"Authorization: {TOKEN}",
        f"Authorization: Digest {TOKEN}",
        f"Authorization: Basic {TOKEN}",
        "Authorization: Basic ====",
        basic(TOKEN, ""),
        basic("prometheus", f":{TOKEN}"),
        "Authorization: Bearer tg-access-0123456789abcdef",
        f"x-api-key: {TOKEN}",
    ],
)
def test_anything_else_is_401_in_plain_text_with_both_challenges(
    token_gateway: RunningGateway, line: str
) -> None:
    """A client's API key is no token either; nothing of the page is told."""
    answer = get(token_gateway.port, "/metrics", line)
    assert answer.status == 401
    assert answer.header("content-type") == ["text/plain; charset=utf-8"]
    assert [value.split()[0] for value in answer.header("www-authenticate")] == ["Bearer", "Basic"]
    assert answer.body == "The metrics page needs its token.\n"
    assert TOKEN not in str(answer)


def test_refusals_are_counted_by_rule_and_health_needs_no_token(
    token_gateway: RunningGateway,
) -> None:
    """One 401 more is one in `tidegate_auth_failures_total{reason="metrics"}`."""
    key = f"Authorization: Bearer {TOKEN}"
    port = token_gateway.port

    def refused() -> float:
        total = counters(get(port, "/metrics", key).body)
        return total("tidegate_auth_failures_total", reason="metrics")

    before = refused()
    assert get(port, "/metrics", method="HEAD").status == 401
    assert refused() == before + 1
    assert get(port, "/livez").status == get(port, "/readyz").status == 200


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        ("10.1.2.3", 200),
        ("10.2.0.1", 403),
        ("10.1.2.3, 203.0.113.9", 403),
        ("203.0.113.9, 10.1.2.3", 200),
        ("::ffff:10.1.2.3", 200),
        ("::ffff:10.2.2.3", 403),
        ("[fd00::5]:4711", 200),
        ("fe80::5", 403),
        ("192.0.2.7", 200),
        ("10.1.2.3, nonsense", 403),
        ("", 403),
    ],
)
def test_behind_a_trusted_proxy_the_clients_own_address_counts(
    proxied_gateway: RunningGateway, forwarded: str, status: int
) -> None:
    """The right-most address that the proxy has seen, not what the client wrote before it."""
    line = f"X-Forwarded-For: {forwarded}"
    for path in PATHS:
        answer = get(proxied_gateway.port, path, line, source="127.0.0.2")
        assert answer.status == status
        if status == 403:
            assert answer.header("content-type") == ["text/plain; charset=utf-8"]
            assert answer.body == "The metrics page is not open to this address.\n"


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("X-Forwarded-For: 10.1.2.3",),
        ("X-Forwarded-For: 10.1.2.3", "X-Forwarded-For: 127.0.0.9"),
        ("X-Real-IP: 10.1.2.3",),
        ("Forwarded: for=10.1.2.3",),
        ("X-Forwarded-For: 10.1.2.3, 127.0.0.2",),
    ],
)
def test_nobody_else_talks_himself_into_a_network(
    proxied_gateway: RunningGateway, lines: tuple[str, ...]
) -> None:
    """From an address that is no trusted proxy, only the connection's own address counts."""
    assert get(proxied_gateway.port, "/metrics", *lines, source="127.0.0.1").status == 403
    lied = [line.replace("10.1.2.3", "203.0.113.9") for line in lines]
    assert get(proxied_gateway.port, "/metrics", *lied, source="127.0.0.9").status == 200


def test_refused_addresses_are_counted(proxied_gateway: RunningGateway) -> None:
    """`tidegate_auth_failures_total{reason="metrics_network"}`, and no other reason."""

    def refused(reason: str) -> float:
        page = get(proxied_gateway.port, "/metrics", source="127.0.0.9").body
        return counters(page)("tidegate_auth_failures_total", reason=reason)

    before = refused("metrics_network"), refused("metrics")
    assert get(proxied_gateway.port, "/metrics").status == 403
    assert (refused("metrics_network"), refused("metrics")) == (before[0] + 1, before[1])


def test_a_network_and_a_token_must_both_be_right(tmp_path: Path) -> None:
    """The address is looked at first, so a stranger learns nothing by guessing tokens."""
    config = (
        "metrics: {access: token, token: env:SCRAPE_TOKEN, networks: [127.0.0.9]}\n"
        "server: {host: '::'}"
    )
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    bearer = f"Authorization: Bearer {TOKEN}"
    for gateway in served(tmp_path, config):
        # The port is IPv6: the kernel shows 127.0.0.9 as ::ffff:127.0.0.9.
        assert get(gateway.port, "/metrics", bearer, source="127.0.0.9").status == 200
        assert get(gateway.port, "/metrics", source="127.0.0.9").status == 401
        assert get(gateway.port, "/metrics", bearer, source="127.0.0.1").status == 403
        assert get(gateway.port, "/metrics", bearer, host="::1").status == 403


def test_private_lets_the_proxys_public_clients_out(tmp_path: Path) -> None:
    """`access: private` looks at the forwarded address too."""
    config = "metrics: {access: private}\nserver: {trusted_proxies: [127.0.0.2]}"
    for gateway in served(tmp_path, config):
        assert get(gateway.port, "/metrics").status == 200
        for forwarded, status in (("192.168.1.9", 200), ("198.51.100.9", 403), ("2001::1", 403)):
            line = f"X-Forwarded-For: {forwarded}"
            assert get(gateway.port, "/metrics", line, source="127.0.0.2").status == status
