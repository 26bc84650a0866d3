"""Tests of `agent/tools/sql_repair`."""
