"""Tests of `agent/tools/mcp`."""
