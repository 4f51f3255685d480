"""Who is near a limit: every known subject looked up in the limiter's shared table.

The table knows subjects by keyed digests only, so those of all keys and models are worked out
here. It is read without its lock, word by word: a subject that is being added at this moment
may be missed once. Addresses cannot be named from their digests and are left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from tidegate.clock import boottime_ns
from tidegate.config.snapshot import KeySnapshot, Snapshot
from tidegate.control.live.answers import Subject
from tidegate.limits.concurrency import ConcurrencyTable
from tidegate.limits.gcra import remaining
from tidegate.limits.limiter import Limiter
from tidegate.limits.rules import Rule
from tidegate.memory import CONTROL_SLOT, LIMITER_LOCK, Segment

MOST_SUBJECTS: Final = 100
_MOST_KNOWN: Final = 200_000
_MOST_SURVEYED: Final = 5_000
"""Subjects of concurrency limits, which are asked for one by one (1 µs)."""
_CHUNK_WORDS: Final = 8_192
_ZEROS: Final = bytes(_CHUNK_WORDS * 8)


class _Known(NamedTuple):
    rule: Rule
    name: str


class NearLimits:
    """Answers for one configuration and one table of keys; make another after a change.

    Args:
        segment: The shared memory.
        snapshot: The configuration.
        keys: All keys in force.
    """

    def __init__(self, segment: Segment, snapshot: Snapshot, keys: Sequence[KeySnapshot]) -> None:
        self._segment = segment
        self._concurrency = ConcurrencyTable(segment.holds, CONTROL_SLOT)
        digest_key = hashlib.blake2b(snapshot.pepper, digest_size=32, person=b"tidegate-limits")
        limiter = Limiter(
            segment.limiter,
            segment.lock(LIMITER_LOCK),
            digest_key.digest(),
            concurrency=self._concurrency,
        )
        self._timed: dict[int, _Known] = {}
        self._counted: list[tuple[int, _Known]] = []
        for rule, subject, name in _subjects(snapshot, keys):
            if len(self._timed) + len(self._counted) >= _MOST_KNOWN:
                break
            digest = limiter.check(rule, subject).digest
            if rule.is_concurrency:
                self._counted.append((digest, _Known(rule, name)))
            else:
                self._timed[digest] = _Known(rule, name)

    def subjects(self) -> list[Subject]:
        """Return whoever has used any of a limit, fullest first, at most a hundred."""
        found = [*self._timed_subjects(), *self._counted_subjects()]
        found.sort(key=lambda one: (-one.used_ratio, one.limit, one.subject))
        return found[:MOST_SUBJECTS]

    def _timed_subjects(self) -> Iterator[Subject]:
        words = self._segment.limiter
        known = self._timed
        now_ns = boottime_ns()
        for start in range(0, len(words) if known else 0, _CHUNK_WORDS):
            part = words[start : start + _CHUNK_WORDS]
            if part.cast("B") == _ZEROS:
                continue  # never used: 5 µs
            flat = part.tolist()
            for digest, tat_ns in zip(flat[::2], flat[1::2], strict=True):
                if tat_ns > now_ns and digest in known:
                    yield _timed_subject(known[digest], tat_ns - now_ns)

    def _counted_subjects(self) -> Iterator[Subject]:
        for digest, (rule, name) in self._counted[:_MOST_SURVEYED]:
            held, _ = self._concurrency.survey(digest)
            if held > 0:
                yield Subject(
                    limit=rule.name,
                    per=rule.per,
                    subject=name,
                    used_ratio=round(held / rule.amount, 4),
                    remaining=max(0, rule.amount - held),
                    full_in_s=None,
                )


def _timed_subject(known: _Known, ahead_ns: int) -> Subject:
    rule = known.rule
    return Subject(
        limit=rule.name,
        per=rule.per,
        subject=known.name,
        used_ratio=round(ahead_ns / rule.capacity_ns, 4),
        remaining=remaining(ahead_ns, rule.cost_ns, rule.capacity_ns),
        full_in_s=round(ahead_ns / 1e9, 3),
    )


def _subjects(snapshot: Snapshot, keys: Sequence[KeySnapshot]) -> Iterator[tuple[Rule, bytes, str]]:
    """Return every limit with each subject that it can have and that has a name."""
    rules = {limit.name: Rule.from_snapshot(limit) for limit in snapshot.limits}
    for rule in rules.values():
        if rule.per == "global":
            yield rule, b"", "global"
        elif rule.per == "model":
            for model in snapshot.models:
                yield rule, model.name.encode(), model.name
            for provider in snapshot.providers:
                if provider.passthrough_models:
                    name = f"{provider.name}/*"
                    yield rule, name.encode(), name
    for key in keys:
        for name in dict.fromkeys((*snapshot.default_limits, *key.limits)):
            found = rules.get(name)
            if found is not None and found.per == "key":
                yield found, key.id.encode(), key.name
