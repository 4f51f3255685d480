"""Wire formats: bytes and events in, bytes and events out. No socket, no clock."""
