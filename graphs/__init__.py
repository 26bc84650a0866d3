"""The only room that knows LangGraph: state, nodes, stores and the command line."""
