"""What a small model's script says by Python: texts that it puts together, and the tests of its `if`."""
