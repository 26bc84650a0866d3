"""Tests of `agent/core/engine`."""
