"""The HTTP/1.1 server: strict at the wire, a small `Exchange` for the pipeline."""
