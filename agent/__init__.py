"""The agent, without LangGraph: what is decided, planned, called and recorded."""
