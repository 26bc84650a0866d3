"""Threads run by any number of workers, on any number of machines, from one queue in PostgreSQL."""
