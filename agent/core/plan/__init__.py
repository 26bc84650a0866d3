"""The plan document: its form, its parts and what they mean."""
