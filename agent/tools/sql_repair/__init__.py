"""Repair of SQL from what a schema says."""
