"""How the roles that write plans do it: what the model is shown, what it may answer, how that becomes a plan."""
