"""Measured planning: sets of goals, strategies that reach for them, and figures with their intervals."""
