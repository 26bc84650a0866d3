"""Tools that let a model write text, free or typed."""
