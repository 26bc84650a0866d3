"""Tests of `agent/planning`."""
