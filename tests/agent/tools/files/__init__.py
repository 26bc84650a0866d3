"""Tests of `agent/tools/files`."""
