"""Tests of `agent/tools/writing`."""
