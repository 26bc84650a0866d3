"""The nodes of the graph, one file each: a function of the state and a `NodeContext`, and the work it does."""
