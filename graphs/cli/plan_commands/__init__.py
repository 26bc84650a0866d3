"""What the commands on plans and programs do."""
