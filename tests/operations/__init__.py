"""A database moved between two servers, with failures at each step."""
