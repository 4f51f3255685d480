"""The supervisor and the worker processes: spawning, signals, reload, drain, upgrade."""
