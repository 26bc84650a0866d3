"""Tests of `graphs/run`."""
