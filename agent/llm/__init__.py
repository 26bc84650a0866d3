"""Language models: the choice of one, structured output, streaming, usage, and errors of the provider."""
