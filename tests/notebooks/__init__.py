"""Every notebook, run from its first cell to its last."""
