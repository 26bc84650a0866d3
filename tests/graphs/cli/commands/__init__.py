"""Tests of `graphs/cli/commands`."""
