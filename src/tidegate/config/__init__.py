"""Configuration: the only reader of files and of the environment.

`snapshot` is what workers get and imports nothing heavy; `load` and `compile` bring
pydantic and YAML, and are for the supervisor and the commands.
"""
