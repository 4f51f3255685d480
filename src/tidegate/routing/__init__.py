"""Which deployment answers a model name, and what happens when it does not."""
