"""What a run returns: the answer, results as Markdown, summaries for models, and large outputs."""
