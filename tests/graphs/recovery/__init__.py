"""Runs that are stopped, resumed, forked and rolled back."""
