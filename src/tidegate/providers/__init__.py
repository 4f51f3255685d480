"""Upstreams: a frozen row of data each, and code only where the wire demands it."""
