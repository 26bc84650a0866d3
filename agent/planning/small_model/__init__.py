"""Planners for a small model: SQL notebooks, scripts, arithmetic and stages, with a vote over several drafts."""
