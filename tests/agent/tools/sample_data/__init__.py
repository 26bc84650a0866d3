"""Tests of `agent/tools/sample_data`."""
