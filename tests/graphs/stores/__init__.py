"""Tests of `graphs/stores`."""
