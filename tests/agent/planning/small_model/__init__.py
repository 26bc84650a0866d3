"""Tests of `agent/planning/small_model`."""
