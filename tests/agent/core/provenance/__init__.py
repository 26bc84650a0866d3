"""Tests of `agent/core/provenance`."""
