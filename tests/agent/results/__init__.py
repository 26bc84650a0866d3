"""Tests of `agent/results`."""
