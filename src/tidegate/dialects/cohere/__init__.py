"""Cohere's Chat API, version 2, as a back: nobody calls a gateway in it."""
