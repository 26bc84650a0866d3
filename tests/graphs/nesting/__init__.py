"""Runs inside other graphs."""
