"""Whole runs through the graph, by what they do."""
