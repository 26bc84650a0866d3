"""Tests of `graphs/delegation`."""
