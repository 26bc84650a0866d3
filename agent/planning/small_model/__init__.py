"""Planners for a small model: SQL notebooks, scripts, arithmetic and single steps, with a vote over several drafts."""
