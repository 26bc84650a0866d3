"""Deterministic repair of SQL with the database schema."""
