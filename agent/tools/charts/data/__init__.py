"""The data of a chart: what its columns are, what may be added up, and what the reader has to be told."""
