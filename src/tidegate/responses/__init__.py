"""Responses that outlive their request: kept here, or known to be kept by a provider."""
