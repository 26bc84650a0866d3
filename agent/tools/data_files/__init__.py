"""The reading of data files: CSV, JSON, Excel and Parquet become tables, and what was assumed of them is said."""
