"""The way of a request. Start with `handle.py`."""
