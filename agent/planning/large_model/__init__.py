"""Planner and replanner for a large model: one structured reply, parsed while it streams."""
