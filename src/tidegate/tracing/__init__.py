"""Traces and metrics as OpenTelemetry's OTLP; only the extra `otel` makes it do anything.

A request makes light records (`trace`); a thread of each worker turns them into OTLP and sends
them (`exporter`). Why not the SDK's spans: `docs/decisions/0005-tracing.md`.
"""
