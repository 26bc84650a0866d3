"""What a run leaves behind: the answer, its Markdown, its summary and large outputs."""
