"""The chart tool: data preparation, Vega-Lite specifications and the theme."""
