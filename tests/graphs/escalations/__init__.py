"""Runs that reach a budget, and how they go on."""
