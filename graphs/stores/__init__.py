"""What stands behind a database URL: checkpoints, leases, the ledger of effects and LangGraph's store."""
