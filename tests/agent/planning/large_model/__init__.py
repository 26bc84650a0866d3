"""Tests of `agent/planning/large_model`."""
