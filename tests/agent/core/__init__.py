"""Tests of `agent/core`."""
