"""The provider table, one row a file. A new provider is a new file here."""
