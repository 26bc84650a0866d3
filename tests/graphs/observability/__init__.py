"""What traces, logs and databases hold of a run, and what they must not."""
