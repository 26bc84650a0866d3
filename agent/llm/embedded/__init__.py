"""The embedded model: its weights, and the server in this process that runs it."""
