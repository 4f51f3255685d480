"""What outlives a restart, in a database. SQLAlchemy Core only; every value is bound."""
