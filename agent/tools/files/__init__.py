"""The tool that saves files, and the output folder that it is confined to."""
