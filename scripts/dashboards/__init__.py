"""Grafana dashboards, made from the declarations of the metrics: `python -m scripts.dashboards`."""
