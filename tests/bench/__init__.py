"""Measurements of what Planwave adds on top of the tools; `python -m tests.bench` runs them."""
