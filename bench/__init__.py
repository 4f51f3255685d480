"""Measurements of the gateway beside nginx. `make bench` runs them all."""
