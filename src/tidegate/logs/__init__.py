"""What every process does to what it writes: nothing that looks like a credential leaves it."""
