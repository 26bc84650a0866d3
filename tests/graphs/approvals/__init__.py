"""Questions to a human on real runs, and every kind of answer."""
