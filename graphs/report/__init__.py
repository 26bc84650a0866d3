"""Reports of runs: gathered from a thread's state and ledger, written to a file, or watched while the run runs."""
