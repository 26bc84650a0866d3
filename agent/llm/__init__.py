"""Language models: which one, how it is asked for structured output, what it costs, how it fails."""
