"""The tool that saves files, and the folder it cannot leave."""
