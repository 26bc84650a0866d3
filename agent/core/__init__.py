"""Pure decisions about plans: no await, clock, randomness or network."""
