"""Worlds, servers, databases and processes that tests share."""
