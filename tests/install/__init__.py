"""The wheel, its dependencies and its public names."""
