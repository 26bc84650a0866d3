"""Tests of `agent/core/compiler`."""
