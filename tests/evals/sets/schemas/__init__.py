"""Goals over five small schemas that nothing was built on, each with its gold rows: what a stranger's database is."""
