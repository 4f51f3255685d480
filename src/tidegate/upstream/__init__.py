"""The HTTP client to model providers: strict, pooled per origin and credential."""
