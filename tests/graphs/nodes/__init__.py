"""Tests of `graphs/nodes`."""
