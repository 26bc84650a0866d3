"""The chart tool: Vega-Lite specifications, their data and their look."""
