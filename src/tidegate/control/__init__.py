"""The control process: key store, key table for the workers, periodic jobs."""
