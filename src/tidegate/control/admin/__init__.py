"""The control port: admin API and the files of the live view."""
