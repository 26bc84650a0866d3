"""Several data sources in one engine."""
