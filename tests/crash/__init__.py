"""Runs killed, paused and tampered with, and what is left of them."""
