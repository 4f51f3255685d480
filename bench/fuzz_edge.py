"""Throw mutated requests at the edge: `python -m bench.fuzz_edge --count 1000000`.

In memory by default: the real connection class with a transport that keeps the bytes, so a
million inputs take minutes. With `--address HOST:PORT` the same inputs go to a running
gateway. Bounded and seeded: the same arguments give the same inputs.

What counts as a failure: an exception that is no refusal, an answer that is malformed or of
a status that no rule has, an input that takes over 50 ms of CPU at once, anything left behind when
the client is gone, memory that grows, and a request that an independent parser (llhttp)
reads in another way.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import socket
import sys
import time
from collections import Counter

import httptools
from tests.edge.cases import CASES, GOOD
from tests.edge.wire import BODY_CAP, Client, Edge, read_answers

from bench.cpu import resident_bytes
from tidegate.edge.exchange import Exchange
from tidegate.edge.rules import RULES

EXPECTED_STATUSES = {100, 200} | {rule.status for rule in RULES.values()}
BLOCKED_S = 0.05
WARM_UP = 20_000
MAX_GROWTH_BYTES = 8 * 1024 * 1024

SMALL = [case.sent for case in CASES if len(case.sent) < 3000] + [GOOD, GOOD + GOOD]
LARGE = [case.sent for case in CASES if len(case.sent) >= 3000]
TOKENS = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"\r\n\r\n", b"\r\n ",
    b"0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n",
    b"Host: gate.test\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n",
    b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n", b"X-Strength: \r\n", b"chunked", b"HTTP/1.1",
    b"HTTP/1.0", b"GET /", b"POST /x HTTP/1.1\r\n", b"5\r\nhello\r\n", b"ffffffffffffffff",
    b"99999999999999999999", b"+", b"-", b"0x", b"_", b"\xff", b"\x7f", b"\x80", b"A" * 300, GOOD,
)  # fmt: skip


def mutated(chance: random.Random) -> bytes:
    """Return one input: a case, or two, changed in one to six places."""
    base = bytearray(chance.choice(LARGE if chance.random() < 0.005 else SMALL))
    if chance.random() < 0.15:
        other = chance.choice(SMALL)
        base[chance.randrange(len(base) + 1) :] = other[chance.randrange(len(other)) :]
    for _ in range(chance.choice((0, 1, 1, 1, 1, 2, 2, 3, 6))):
        size = len(base)
        at = chance.randrange(size + 1)
        kind = chance.randrange(7)
        if kind == 0 and at < size:
            base[at] ^= 1 << chance.randrange(8)
        elif kind == 1 and at < size:
            base[at] = chance.randrange(256)
        elif kind == 2:
            base[at:at] = chance.choice(TOKENS)
        elif kind == 3:
            del base[at : at + chance.randint(1, 8)]
        elif kind == 4:
            piece = base[at : at + chance.randint(1, 40)]
            base[at:at] = piece * chance.randint(1, 3)
        elif kind == 5:
            token = chance.choice(TOKENS)
            base[at : at + len(token)] = token
        else:
            end = min(size, at + 30)
            base[at:end] = base[at:end].swapcase()
    return bytes(base) or b"\r"


def pieces(chance: random.Random, data: bytes) -> list[bytes]:
    """Cut *data* as packets might: mostly whole, else in two to four."""
    if chance.random() < 0.6 or len(data) < 2:
        return [data]
    cuts = sorted({chance.randrange(1, len(data)) for _ in range(chance.randint(1, 3))})
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


class OtherReader:
    """llhttp's reading of the same bytes."""

    def __init__(self) -> None:
        self.requests: list[tuple[bytes, bytes]] = []
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._body = b""

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._target = self._body = b""

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self._target += url

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.requests.append((self._target, self._body))

    def read(self, data: bytes) -> str | None:
        """Return why it stopped, if it did."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            return str(error)
        except httptools.HttpParserUpgrade:
            return "upgrade"
        return None


class Fuzz:
    """A run in memory and its findings."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.targets: list[tuple[bytes, bytes]] = []
        self.statuses: Counter[int] = Counter()
        self.codes: Counter[str | None] = Counter()
        self.findings: Counter[str] = Counter()
        self.examples: dict[str, bytes] = {}
        self.slowest_s = 0.0
        self.served = 0
        self.unlike_llhttp: Counter[str] = Counter()

    async def handler(self, exchange: Exchange) -> None:
        """Note target and body; answer with the body, as a stream to DELETE."""
        body = await exchange.read_body(BODY_CAP)
        query = b"?" + exchange.query if exchange.query else b""
        self.targets.append((exchange.path + query, body))
        if exchange.method == b"DELETE":
            exchange.start(200, b"content-type: text/plain\r\n")
            exchange.write(body)
            exchange.end()
        else:
            # An answer to HEAD has a length and no body, which would put the reader out of step.
            length_is_body = exchange.method != b"HEAD"
            exchange.answer(200, b"content-type: text/plain\r\n", body if length_is_body else b"")

    def found(self, what: str, data: bytes) -> None:
        """Count a finding and keep its first input."""
        self.findings[what] += 1
        self.examples.setdefault(what, data[:600])

    async def one(self, data: bytes, parts: list[bytes]) -> None:
        """Send one input, look at everything that came of it, and leave."""
        edge = self.edge
        self.targets.clear()
        client = edge.connect()
        try:
            for part in parts:
                # CPU time: on a busy machine the clock also shows what others did.
                started = time.thread_time()
                client.send(part)
                spent = time.thread_time() - started
                self.slowest_s = max(self.slowest_s, spent)
                if spent > BLOCKED_S:
                    self.found("blocked the loop", data)
                await asyncio.sleep(0)
                if client.has_ended:
                    break
            await client.settle()
        except Exception as error:
            self.found(f"raised {error!r}", data)
        self._judge(client, data)
        client.vanish()
        await asyncio.sleep(0)
        if edge.server.running:
            await edge.settle()
        if edge.errors:
            self.found(f"reported {edge.errors[0]!r}", data)
            edge.errors.clear()
        if edge.server.connections or edge.server.running or edge.sweep._members:
            self.found("left something behind", data)

    def _judge(self, client: Client, data: bytes) -> None:
        try:
            for answer in read_answers(client.received):
                self.statuses[answer.status] += 1
                if answer.status != 200 and answer.status != 100:
                    self.codes[answer.code] += 1
                if answer.status not in EXPECTED_STATUSES:
                    self.found(f"answered {answer.status}", data)
                if not answer.whole:
                    self.found("cut an answer", data)
        except (AssertionError, ValueError) as error:
            self.found(f"malformed answer: {error}", data)
        if self.targets:
            self.served += len(self.targets)
            self._compare(data)

    def _compare(self, data: bytes) -> None:
        """Every request that was served must be one that llhttp reads alike, in order."""
        other = OtherReader()
        reason = other.read(data)
        for number, (target, body) in enumerate(self.targets):
            if number >= len(other.requests):
                # It refuses methods that it does not know, and stops at an upgrade or a close.
                self.unlike_llhttp[f"llhttp stopped: {reason}"] += 1
                return
            theirs, their_body = other.requests[number]
            if body != their_body:
                self.found("body unlike llhttp's", data)
            if not theirs.endswith(target.removeprefix(b"/")):
                self.found("target unlike llhttp's", data)


async def in_memory(count: int, seed: int) -> int:
    """Run *count* inputs; print figures; return the number of findings."""
    chance = random.Random(seed)
    edge = Edge(max_headers=100)
    fuzz = Fuzz(edge)
    edge.server.handler = fuzz.handler
    edge.server._on_refusal = None
    started = time.monotonic()
    after_warm_up = 0
    warm_up = min(WARM_UP, count // 2)
    for number in range(count):
        data = mutated(chance)
        await fuzz.one(data, pieces(chance, data))
        if number == warm_up:
            after_warm_up = resident_bytes(os.getpid())
        if number and number % 100_000 == 0:
            mib = resident_bytes(os.getpid()) / 2**20
            print(f"{number} inputs, {time.monotonic() - started:.0f} s, {mib:.1f} MiB", flush=True)
    growth = resident_bytes(os.getpid()) - after_warm_up
    seconds = time.monotonic() - started
    print(f"inputs {count}, seed {seed}, {seconds:.0f} s, {seconds / count * 1e6:.0f} µs each")
    print(f"requests served {fuzz.served}, refused by a rule {edge.server.refused_total}")
    print("statuses", dict(sorted(fuzz.statuses.items())))
    print("rules never broken:", sorted(set(RULES) - set(fuzz.codes)))
    print("served, where llhttp stopped:", dict(fuzz.unlike_llhttp.most_common(6)))
    print(f"slowest packet {fuzz.slowest_s * 1000:.1f} ms of CPU")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"memory growth after warm-up {growth / 2**20:.1f} MiB, peak {peak:.1f} MiB")
    if growth > MAX_GROWTH_BYTES:
        fuzz.found("memory grew", b"")
    for what, times in fuzz.findings.most_common(20):
        print(f"FOUND {times} x {what}: {fuzz.examples[what]!r}")
    print("findings", sum(fuzz.findings.values()))
    return sum(fuzz.findings.values())


def against(address: str, count: int, seed: int) -> int:
    """Send *count* inputs to a running gateway; return the number of findings."""
    host, _, port = address.rpartition(":")
    chance = random.Random(seed)
    statuses: Counter[str] = Counter()
    findings = 0
    for _ in range(count):
        data = mutated(chance)
        with socket.create_connection((host, int(port)), timeout=5) as client:
            client.settimeout(1)
            try:
                for part in pieces(chance, data):
                    client.sendall(part)
                client.shutdown(socket.SHUT_WR)
                answer = b""
                while piece := client.recv(65_536):
                    answer += piece
            except (TimeoutError, ConnectionError) as error:
                statuses[type(error).__name__] += 1
                continue
        status = answer[9:12].decode("latin-1") if answer else "closed"
        statuses[status] += 1
        if status.startswith("5") and status not in ("501", "505"):
            findings += 1
            print(f"FOUND {status}: {data[:600]!r}")
    with socket.create_connection((host, int(port)), timeout=5) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: fuzz\r\nConnection: close\r\n\r\n")
        alive = client.recv(65_536).startswith(b"HTTP/1.1 ")
    print(f"inputs {count}, seed {seed}, answers {dict(sorted(statuses.items()))}")
    print(f"alive afterwards: {alive}, findings {findings}")
    return findings + (not alive)


def main() -> int:
    """Read the arguments, run, and return 1 when anything was found."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--count", type=int, default=100_000, help="inputs (default 100,000)")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--address", help="HOST:PORT of a running gateway; in memory by default")
    chosen = options.parse_args()
    if chosen.address:
        return int(against(chosen.address, chosen.count, chosen.seed) > 0)
    return int(asyncio.run(in_memory(chosen.count, chosen.seed)) > 0)


if __name__ == "__main__":
    sys.exit(main())
