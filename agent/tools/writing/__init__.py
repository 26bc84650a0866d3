"""Tools with which a model writes: free text, or JSON that fits a schema."""
