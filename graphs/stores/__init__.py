"""The stores behind a database URL: checkpoints, leases, the ledger of writes and LangGraph's store."""
