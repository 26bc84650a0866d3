"""What is particular to each database engine: how it is attached, and what its values and its SQL mean to DuckDB."""
