"""Tests of `agent/llm/embedded`."""
