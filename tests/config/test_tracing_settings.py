"""The section `tracing` and the names of OpenTelemetry in the environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.config import load as load_module
from tidegate.config import otel_environment
from tidegate.config.compile import compile_snapshot
from tidegate.config.load import Loaded
from tidegate.config.snapshot import TracingSnapshot, secrets_of
from tidegate.providers.discover import providers_by_name

Load = Callable[..., Loaded]
Problems = Callable[..., dict[str, str]]

ENDPOINT = "http://127.0.0.1:4318"


def compiled(loaded: Loaded) -> TracingSnapshot:
    """What a worker gets."""
    snapshot = compile_snapshot(
        loaded.settings,
        kinds=providers_by_name(),
        generation=1,
        pepper=bytes(32),
        data_dir=Path("/d"),
    )
    return snapshot.tracing


def test_nothing_is_traced_by_default(load: Load) -> None:
    """Nobody sends anything anywhere who was not told to."""
    assert compiled(load()).endpoint is None


def test_every_field_reaches_the_workers(load: Load) -> None:
    """Secrets too, and they stay known as such."""
    loaded = load(
        f"""
        tracing:
          endpoint: {ENDPOINT}
          headers: {{x-key: env:OTLP}}
          sample_ratio: 0.25
          follow_client: false
          semantic_conventions: both
          export_metrics: true
          metrics_interval_s: 15
          service_name: edge
          resource: {{deployment.environment.name: test}}
        """,
        OTLP="collector-secret",
    )
    assert compiled(loaded) == TracingSnapshot(
        endpoint=ENDPOINT,
        headers=(("x-key", "collector-secret"),),
        sample_ratio=0.25,
        follow_client=False,
        old_names=True,
        export_metrics=True,
        metrics_interval_s=15.0,
        resource=(("deployment.environment.name", "test"), ("service.name", "edge")),
    )
    snapshot = compile_snapshot(
        loaded.settings,
        kinds=providers_by_name(),
        generation=1,
        pepper=bytes(32),
        data_dir=Path("/d"),
    )
    assert "collector-secret" in secrets_of(snapshot)
    assert "collector-secret" not in repr(snapshot.tracing) + repr(loaded.settings)


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("endpoint: http://user:pw@h", "must not hold a user name"),
        ("endpoint: grpc://h:4317", "must start with http"),
        ("sample_ratio: 1.5", "at most 1"),
        ("sample_ratio: .nan", ""),
        ("metrics_interval_s: 0", "between"),
        ("semantic_conventions: old", "must be"),
        ("headers: {'a b': x}", ""),
    ],
)
def test_what_cannot_be_used_is_refused(problems: Problems, field: str, reason: str) -> None:
    """With its place."""
    found = problems(f"tracing: {{{field}}}")
    assert len(found) == 1
    ((path, text),) = found.items()
    assert path.startswith("tracing.")
    assert reason in text


def test_without_the_extra_an_endpoint_is_refused(
    problems: Problems, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In words that say what to install; the environment's names then mean nothing."""
    for module in (load_module, otel_environment):
        monkeypatch.setattr(module, "otel_installed", lambda: False)
    found = problems(f"tracing: {{endpoint: {ENDPOINT}}}")
    assert "pip install 'tidegate[otel]'" in found["tracing.endpoint"]
    assert compiled(load(OTEL_EXPORTER_OTLP_ENDPOINT=ENDPOINT)).endpoint is None


def test_the_names_of_opentelemetry_fill_what_the_file_leaves_out(load: Load) -> None:
    """They are often set for a whole machine."""
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-a=one%20two,x-b=three",
        "OTEL_SERVICE_NAME": "edge",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,service.name=lost",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.5",
    }
    found = compiled(load(**environment))
    assert found == TracingSnapshot(
        endpoint=ENDPOINT,
        headers=(("x-a", "one two"), ("x-b", "three")),
        sample_ratio=0.5,
        resource=(("deployment.environment.name", "test"), ("service.name", "edge")),
    )
    found = compiled(load("tracing: {service_name: mine, sample_ratio: 1}", **environment))
    assert dict(found.resource)["service.name"] == "mine"
    assert found.sample_ratio == 1.0
    assert found.endpoint == ENDPOINT


@pytest.mark.parametrize(
    ("sampler", "ratio", "follows"),
    [
        ("always_on", 1.0, False),
        ("always_off", 0.0, False),
        ("traceidratio", 0.5, False),
        ("parentbased_always_on", 1.0, True),
        ("parentbased_always_off", 0.0, True),
    ],
)
def test_samplers_mean_what_they_mean_elsewhere(
    load: Load, sampler: str, ratio: float, follows: bool
) -> None:
    """By the specification of the SDK's environment."""
    found = compiled(
        load(
            OTEL_EXPORTER_OTLP_ENDPOINT=ENDPOINT,
            OTEL_TRACES_SAMPLER=sampler,
            OTEL_TRACES_SAMPLER_ARG="0.5",
        )
    )
    assert (found.sample_ratio, found.follow_client) == (ratio, follows)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:hunter2@h"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
        ("OTEL_TRACES_SAMPLER", "hunter2"),
        ("OTEL_TRACES_SAMPLER_ARG", "hunter2"),
    ],
)
def test_what_the_environment_says_wrongly_is_warned_about(
    load: Load, name: str, value: str
) -> None:
    """A machine's variable stops no gateway; its value is not repeated."""
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT,
        "OTEL_TRACES_SAMPLER": "traceidratio",
        name: value,
    }
    loaded = load(**environment)
    assert any("OTEL_" in warning for warning in loaded.warnings)
    assert "hunter2" not in str(loaded.warnings)


def test_a_disabled_sdk_disables_ours(load: Load) -> None:
    """As everywhere."""
    loaded = load(OTEL_SDK_DISABLED="true", OTEL_EXPORTER_OTLP_ENDPOINT=ENDPOINT)
    assert compiled(loaded).endpoint is None


def test_risks_are_told(load: Load) -> None:
    """Prompts that leave, and a credential on an open wire."""
    loaded = load(
        "tracing: {endpoint: 'http://collector.example:4318', headers: {a: b}, "
        "capture_content: true}"
    )
    warnings = " ".join(loaded.warnings)
    assert "unencrypted" in warnings
    assert "prompts and answers" in warnings
