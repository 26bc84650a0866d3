"""The catalogue of tools, and the analytics family."""
