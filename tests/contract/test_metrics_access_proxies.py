"""The examples in `deploy/` that close the metrics page, with the real programs where they are."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.contract.raw_requests import RawAnswer, read_answer, until
from tests.fakes.openai_upstream import KEY, OpenAIUpstream
from tests.free_ports import free_port
from tests.running import RunningGateway

DEPLOY = Path(__file__).parents[2] / "deploy"
BEARER = "Authorization: Bearer tg-proxied-0123456789abcdef"

#: Ways to write the page's two paths; none may show it from outside.
SPELLINGS = (
    "/metrics", "/metrics/", "/metrics?x=1", "/metrics/?x=1", "//metrics", "/./metrics",
    "/v1/../metrics", "/%6detrics", "/metrics%2f", "/metrics%3f", "/metrics;x", "/METRICS",
    "/api/v1/metrics", "/api/v1/metrics/", "/api//v1/metrics", "/api/v1/%6d%65trics",
    "/api/v1/x/../metrics", "/api/v1/./metrics/", "http://llm.example.com/metrics",
)  # fmt: skip


def program(name: str, package: str) -> str:
    """Return the path of a program, or skip."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is missing: apt-get install {package}")
    return found


class Front:
    """A proxy in front of a gateway in front of a provider."""

    def __init__(self, port: int, upstream: OpenAIUpstream, certificate: Path | None) -> None:
        self.port = port
        self.upstream = upstream
        self._certificate = certificate

    def open(self, path: str, *lines: str, body: str = "", port: int = 0) -> socket.socket:
        """Send one request; the connection has the answer."""
        connection = socket.create_connection(("127.0.0.1", port or self.port), 10)
        if self._certificate is not None:
            context = ssl.create_default_context(cafile=str(self._certificate))
            connection = context.wrap_socket(connection, server_hostname="llm.example.com")
        head = [
            f"{'POST' if body else 'GET'} {path} HTTP/1.1", "Host: llm.example.com",
            "Connection: close", f"Content-Length: {len(body)}", *lines,
        ]  # fmt: skip
        connection.sendall("\r\n".join([*head, "", body]).encode())
        return connection

    def get(self, path: str, *lines: str, port: int = 0) -> RawAnswer:
        """Return the whole answer to one request."""
        with self.open(path, *lines, port=port) as connection:
            return read_answer(connection)

    def chat(self, model: str, *, stream: bool) -> socket.socket:
        """Ask a model through proxy and gateway."""
        message = {"role": "user", "content": "Hello"}
        body = json.dumps({"model": model, "stream": stream, "messages": [message]})
        return self.open("/v1/chat/completions", BEARER, body=body)


@contextmanager
def gateway_behind(folder: Path) -> Iterator[tuple[RunningGateway, OpenAIUpstream]]:
    """Run a gateway that has a provider and believes a proxy on this host."""
    with OpenAIUpstream() as upstream:
        config = f"""
server: {{trusted_proxies: [127.0.0.1]}}
providers: {{acme: {{kind: openai-compatible, base_url: "{upstream.url}", api_key: env:ACME}}}}
models: {{slow: {{targets: [acme/slow]}}, quick: {{targets: [acme/quick]}}}}
keys: {{k: {{secret: env:PROXIED_KEY}}}}
"""
        environment = {"ACME": KEY, "PROXIED_KEY": BEARER.rpartition(" ")[2]}
        with RunningGateway(folder, config, environment=environment) as gateway:
            yield gateway, upstream


@contextmanager
def proxy(command: list[str], port: int, log: Path, **environment: str) -> Iterator[None]:
    """Run a proxy until its port answers, and end it afterwards."""
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **environment}) as run,
    ):

        def answers() -> bool:
            assert run.poll() is None, log.read_text()
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                return False
            return True

        try:
            until(answers, "the proxy")
            yield
        finally:
            run.send_signal(signal.SIGTERM)
            try:
                run.wait(10)
            except subprocess.TimeoutExpired:
                run.kill()


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """Put a test's ports and files into an example; each must stand in it."""
    for old, new in pairs:
        assert old in text, f"{old} is not in the example any more"
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, int]]:
    """Nginx with both examples, and the port of the second."""
    binary, openssl = program("nginx", "nginx-light"), program("openssl", "openssl")
    folder = tmp_path_factory.mktemp("nginx")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-subj", "/CN=llm.example.com", "-addext", "subjectAltName=DNS:llm.example.com",
            "-keyout", str(key), "-out", str(certificate),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    made = subprocess.run(
        [openssl, "passwd", "-6", "-stdin"], input=b"scrape", check=True, capture_output=True
    )
    passwords = folder / "htpasswd"
    passwords.write_bytes(b"prometheus:" + made.stdout)
    port, metrics_port = free_port(), free_port()
    files = [
        ("/etc/ssl/llm.example.com.pem", str(certificate)),
        ("/etc/ssl/llm.example.com.key", str(key)),
    ]
    with gateway_behind(folder) as (gateway, upstream), ExitStack() as stack:
        example = replaced(
            (DEPLOY / "proxy/nginx.conf").read_text(),
            ("127.0.0.1:8000", f"127.0.0.1:{gateway.port}"),
            ("listen 443 ", f"listen 127.0.0.1:{port} "),
            *files,
        )
        metrics = replaced(
            (DEPLOY / "proxy/nginx-metrics.conf").read_text(),
            ("listen 9443 ", f"listen 127.0.0.1:{metrics_port} "),
            ("/etc/nginx/tidegate-metrics.htpasswd;", f"{passwords};"),
            ("allow 10.0.0.0/8;", "allow 127.0.0.0/9;"),
            *files,
        )
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        whole = (
            f"daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;\n"
            f"events {{}} http {{ access_log off; {temporary}\n{example}\n{metrics} }}\n"
        )
        (folder / "nginx.conf").write_text(whole)
        command = [binary, "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
        stack.enter_context(proxy(command, port, folder / "nginx.log"))
        yield Front(port, upstream, certificate), metrics_port


@pytest.fixture(scope="module")
def caddy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Caddy with its example, by plain HTTP, as a certificate would need the internet."""
    binary = program("caddy", "caddy")
    folder = tmp_path_factory.mktemp("caddy")
    port = free_port()
    with gateway_behind(folder) as (gateway, upstream):
        example = replaced(
            (DEPLOY / "proxy/Caddyfile").read_text(),
            ("llm.example.com {", f"http://llm.example.com:{port} {{"),
            ("127.0.0.1:8000", f"127.0.0.1:{gateway.port}"),
        )
        (folder / "Caddyfile").write_text("{\n\tadmin off\n}\n" + example)
        command = [binary, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
        home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        with proxy(command, port, folder / "caddy.log", **home):
            yield Front(port, upstream, None)


@pytest.fixture(params=["nginx", "caddy"])
def front(request: pytest.FixtureRequest) -> Front:
    """Each proxy that is installed here."""
    found: Any = request.getfixturevalue(request.param)
    return found if isinstance(found, Front) else found[0]


@pytest.mark.process
@pytest.mark.external
@pytest.mark.parametrize("path", SPELLINGS)
def test_no_spelling_of_the_pages_path_shows_it_from_outside(front: Front, path: str) -> None:
    """Neither to strangers nor to clients with a key."""
    for lines in ((), (BEARER,), ("X-Forwarded-For: 127.0.0.1",)):
        answer = front.get(path, *lines)
        assert answer.status == 404
        assert "rate_limit_" not in answer.body


@pytest.mark.process
@pytest.mark.external
def test_clients_reach_models_and_health_through_the_proxy(front: Front) -> None:
    """Everything but the page is as without the proxy."""
    assert front.get("/readyz").status == 200
    assert front.get("/v1/models").status == 401
    assert front.get("/v1/models", BEARER).status == 200
    with front.chat("quick", stream=False) as connection:
        answer = read_answer(connection)
    assert answer.status == 200
    assert "one two three four" in answer.body


@pytest.mark.process
@pytest.mark.external
def test_a_stream_comes_as_it_is_made_and_a_client_that_leaves_ends_it(front: Front) -> None:
    """The first word is here while the provider still writes."""
    until(lambda: front.upstream.open_streams == 0, "the end of other streams")
    with front.chat("slow", stream=True) as connection:
        data = b""
        while data.count(b"data: ") < 3:
            piece = connection.recv(4096)
            assert piece, data
            data += piece
        assert b" 200 " in data.split(b"\r\n", 1)[0]
        assert front.upstream.open_streams == 1
    until(lambda: front.upstream.open_streams == 0, "the stream's end", within_s=3.0)


@pytest.mark.process
@pytest.mark.external
def test_nginx_shows_the_page_to_one_network_with_a_password(nginx: tuple[Front, int]) -> None:
    """The second example: 401 without the password, and nothing but the page."""
    front, port = nginx
    password = "Authorization: Basic cHJvbWV0aGV1czpzY3JhcGU="  # prometheus:scrape
    answer = front.get("/metrics", port=port)
    assert answer.status == 401
    assert answer.header("www-authenticate") == ['Basic realm="tidegate metrics"']
    assert front.get("/metrics", password[:-4], port=port).status == 401
    page = front.get("/metrics", password, port=port)
    assert page.status == 200
    assert "rate_limit_allowed_total" in page.body
    for path in ("/", "/v1/models", "/api/v1/metrics", "/readyz"):
        assert front.get(path, password, BEARER.replace("Authorization", "x-api-key"), port=port
                         ).status == 404  # fmt: skip


@pytest.mark.external
def test_the_caddyfile_is_valid_and_in_its_own_format() -> None:
    """As it stands, with its host name."""
    binary, file = program("caddy", "caddy"), str(DEPLOY / "proxy/Caddyfile")
    environment = {**os.environ, "HOME": "/nonexistent"}
    checked = subprocess.run(
        [binary, "validate", "--adapter", "caddyfile", "--config", file],
        capture_output=True, text=True, env=environment, check=False, timeout=30,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    shown = subprocess.run(
        [binary, "fmt", file], capture_output=True, text=True, env=environment, check=False
    )
    assert shown.stdout == Path(file).read_text()


def isolated(*command: str) -> list[str]:
    """Return *command* in a network namespace of its own, or skip where there is none to have."""
    unshare = program("unshare", "util-linux")
    if subprocess.run([unshare, "-n", "true"], capture_output=True, check=False).returncode:
        pytest.skip("a network namespace needs root here")
    return [unshare, "-n", *command]


@pytest.mark.external
def test_the_packet_filter_is_good_syntax_and_can_be_loaded_again() -> None:
    """`nft -f` twice leaves one table, as after a reload."""
    nft, file = program("nft", "nftables"), str(DEPLOY / "proxy/nftables.conf")
    script = 'set -e; "$0" -c -f "$1"; "$0" -f "$1"; "$0" -f "$1"; "$0" list tables'
    done = subprocess.run(
        isolated("sh", "-c", script, nft, file), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["table inet tidegate_metrics"]


_NETWORK = """
set -e
ip link set lo up
unshare -n sleep 30 & outside=$!
trap 'kill $outside $server 2>/dev/null' EXIT
while [ "$(readlink /proc/$outside/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do :; done
ip link add inner type veth peer name outer
ip link set outer netns $outside
ip addr add 10.0.0.1/24 dev inner
ip -6 addr add fd00::1/64 dev inner nodad
ip link set inner up
nsenter -t $outside -n sh -ec 'ip link set lo up
for host in 5 6; do
    ip addr add 10.0.0.$host/24 dev outer; ip -6 addr add fd00::$host/64 dev outer nodad
done
ip link set outer up'
"$1" -f "$2"
"$0" "$3" serve & server=$!
nsenter -t $outside -n "$0" "$3" ask 10.0.0.1 10.0.0.5 10.0.0.6
nsenter -t $outside -n "$0" "$3" ask fd00::1 fd00::5 fd00::6
"$0" "$3" ask 127.0.0.1 127.0.0.1
"""

_TALKER = """
import socket, sys, time
if sys.argv[1] == "serve":
    kept = [socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
            for port in (8000, 9464)]
    time.sleep(30)
host, *sources = sys.argv[2:]
def opens(port, source, patience_s):
    give_up_at = time.monotonic() + patience_s
    while True:
        try:
            socket.create_connection((host, port), 0.7, source_address=(source, 0)).close()
            return True
        except TimeoutError:
            return False
        except OSError:  # nobody listens yet, or the link is not up yet
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.02)
for source in sources:
    print(source, *(port for port in (8000, 9464) if opens(port, source, 8)))
"""


@pytest.mark.external
def test_the_packet_filter_lets_only_prometheus_to_the_pages_port(tmp_path: Path) -> None:
    """Real packets between two network namespaces; the data port stays open to all."""
    nft = program("nft", "nftables")
    for name, package in (("ip", "iproute2"), ("nsenter", "util-linux")):
        program(name, package)
    talker = tmp_path / "talker.py"
    talker.write_text(_TALKER)
    done = subprocess.run(
        isolated("bash", "-c", _NETWORK, sys.executable, nft,
                 str(DEPLOY / "proxy/nftables.conf"), str(talker)),
        capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip
    if "Unknown device type" in done.stderr or "Operation not permitted" in done.stderr:
        pytest.skip("this kernel gives no veth pair: " + done.stderr.splitlines()[0])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "10.0.0.5 8000 9464",
        "10.0.0.6 8000",
        "fd00::5 8000 9464",
        "fd00::6 8000",
        "127.0.0.1 8000 9464",
    ]


# The network policy: its shape by the API's own rules, then what it lets through.

_LABEL = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"


def _labels(value: Any) -> dict[str, str]:
    assert isinstance(value, dict)
    for name, text in value.items():
        assert isinstance(name, str)
        assert isinstance(text, str)
        assert len(text) <= 63
    return value


def _selector(value: Any) -> dict[str, str]:
    """Check a LabelSelector of matchLabels alone; `{}` selects everything."""
    assert isinstance(value, dict)
    assert set(value) <= {"matchLabels"}
    return _labels(value.get("matchLabels", {}))


def checked_policy(policy: Any) -> dict[str, Any]:
    """Check *policy* against networking.k8s.io/v1 NetworkPolicy; an unknown field is a fault."""
    assert set(policy) == {"apiVersion", "kind", "metadata", "spec"}
    assert policy["apiVersion"] == "networking.k8s.io/v1"
    assert policy["kind"] == "NetworkPolicy"
    assert set(policy["metadata"]) <= {"name", "namespace", "labels", "annotations"}
    assert policy["metadata"]["name"].replace("-", "").isalnum()
    spec = policy["spec"]
    assert set(spec) <= {"podSelector", "policyTypes", "ingress", "egress"}
    _selector(spec["podSelector"])
    assert set(spec["policyTypes"]) <= {"Ingress", "Egress"}
    for rule in spec["ingress"]:
        assert set(rule) <= {"from", "ports"}
        for peer in rule["from"]:
            assert peer
            assert set(peer) <= {"podSelector", "namespaceSelector"}
            for selector in peer.values():
                _selector(selector)
        for port in rule["ports"]:
            assert set(port) <= {"protocol", "port", "endPort"}
            assert port["protocol"] in ("TCP", "UDP", "SCTP")
            assert 1 <= port["port"] <= 65535
    return dict(spec)


def _lets(spec: dict[str, Any], namespace: dict[str, str], pod: dict[str, str], port: int) -> bool:
    """Whether the policy lets a pod of another namespace reach *port*."""

    def selects(selector: Any, labels: dict[str, str]) -> bool:
        return selector is None or _selector(selector).items() <= labels.items()

    return any(
        any(allowed["port"] == port and allowed["protocol"] == "TCP" for allowed in rule["ports"])
        and any(
            # A peer without a namespace selector is a pod of the policy's own namespace.
            "namespaceSelector" in peer
            and selects(peer["namespaceSelector"], namespace)
            and selects(peer.get("podSelector"), pod)
            for peer in rule["from"]
        )
        for rule in spec["ingress"]
    )


def test_the_network_policy_is_well_formed_and_lets_each_peer_to_its_port() -> None:
    """The ingress reaches the data port, Prometheus the page's, nobody else anything."""
    text = (DEPLOY / "kubernetes/network-policy.yaml").read_text()
    spec = checked_policy(yaml.safe_load(text))
    assert spec["policyTypes"] == ["Ingress"]
    name = "kubernetes.io/metadata.name"
    ingress, monitoring, other = ({name: n} for n in ("ingress-nginx", "monitoring", "default"))
    prometheus = {"app.kubernetes.io/name": "prometheus", "pod-template-hash": "1"}
    grafana = {"app.kubernetes.io/name": "grafana"}
    assert _lets(spec, ingress, {}, 8000)
    assert _lets(spec, monitoring, prometheus, 9464)
    for namespace, pod, port in (
        (ingress, {}, 9464), (monitoring, prometheus, 8000), (monitoring, grafana, 9464),
        (other, prometheus, 9464), (other, {}, 8000), (ingress, {}, 8001),
    ):  # fmt: skip
        assert not _lets(spec, namespace, pod, port), (namespace, pod, port)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("networking.k8s.io/v1", "extensions/v1beta1"),
        ("policyTypes: [Ingress]", "policyType: [Ingress]"),
        ("port: 9464", "port: page"),
        ("port: 9464", "targetPort: 9464"),
        ("- namespaceSelector:", "- namespaceselector:"),
        ("protocol: TCP", "protocol: tcp"),
    ],
)
def test_the_check_of_the_policy_finds_what_a_cluster_would_refuse(old: str, new: str) -> None:
    """A slip in a field's name makes a policy that is refused, or worse, lets all in."""
    text = (DEPLOY / "kubernetes/network-policy.yaml").read_text()
    with pytest.raises((AssertionError, KeyError, TypeError)):
        checked_policy(yaml.safe_load(replaced(text, (old, new))))
