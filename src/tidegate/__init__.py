"""Tidegate: a self-hosted LLM gateway. Importing the package loads nothing else."""

__version__ = "0.1.0"
