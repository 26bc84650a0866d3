"""What looks wrong in a draft of the planner for its goal; nothing is changed, and a caller's SQL is not reviewed."""
