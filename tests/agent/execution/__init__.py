"""Tests of `agent/execution`."""
