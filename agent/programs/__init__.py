"""Programs: plans with inputs that are kept under a name, how one is made of a plan, and when one answers a goal."""
