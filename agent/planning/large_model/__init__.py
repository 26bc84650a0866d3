"""Planners for a large model: one structured reply that is parsed while it streams."""
