"""The alerts, one file for each thing that they watch."""
