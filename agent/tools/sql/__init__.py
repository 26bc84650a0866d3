"""Tools that run read-only SQL, and the checks before it runs."""
