"""Planner and replanner: what the model is shown, what it may answer, and how the answer becomes a plan."""
