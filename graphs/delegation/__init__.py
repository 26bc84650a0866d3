"""A tool that gives one open-ended task to a LangChain agent."""
