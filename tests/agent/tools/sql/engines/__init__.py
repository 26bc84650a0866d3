"""Tests of `agent/tools/sql`."""
