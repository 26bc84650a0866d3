"""Tests of `agent/tools/charts`."""
