"""A small model's draft brought closer to its goal, by rules that read both; a caller's SQL never comes here."""
