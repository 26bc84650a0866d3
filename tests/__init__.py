"""Tests: a scripted model, and everything else real."""
