"""Tests of `agent/core/plan`."""
