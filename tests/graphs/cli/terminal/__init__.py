"""Tests of `graphs/cli/terminal`."""
