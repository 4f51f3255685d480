"""Endpoints: method, path and dialect, one file a group."""
