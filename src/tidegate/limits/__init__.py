"""Rate limits: how much of what, per whom; exact over all workers of a host."""
