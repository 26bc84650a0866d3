"""The rules that bring a draft closer to its goal."""
