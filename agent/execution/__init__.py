"""Tool calls: retries, timeouts, limits, the ledger of writes and the log of calls."""
