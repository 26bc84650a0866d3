"""The SQL tables of Planwave, one module each, for SQLite and PostgreSQL alike."""
