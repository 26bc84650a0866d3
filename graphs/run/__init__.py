"""What the nodes share in one run: services, snapshots of the state, approvals and the dispatch board."""
