"""The checks that a plan passes before anything runs."""
