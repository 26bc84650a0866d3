"""Tests of `graphs/cli`."""
