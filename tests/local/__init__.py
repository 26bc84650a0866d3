"""The embedded model on the sample shop."""
