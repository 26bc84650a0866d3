"""The schema of a database: how it is read, and how it is rendered for a model."""
