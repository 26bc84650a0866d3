"""The plan document: its format, its parts and what they mean."""
