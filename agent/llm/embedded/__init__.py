"""The embedded model: its weights and the server in this process that answers for it."""
