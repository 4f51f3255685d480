"""The live view: readings of the last day, recent requests, limits that are nearly used up."""
