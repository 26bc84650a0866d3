"""Tests of `prompts`: renderings against golden files."""
