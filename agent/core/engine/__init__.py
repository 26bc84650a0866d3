"""What happens next in a run, decided from what has happened."""
