"""Alerts: each declared once, as a rule for Prometheus and as a check of the control process."""
