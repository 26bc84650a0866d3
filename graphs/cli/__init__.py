"""What the `planwave` command shows, asks and answers with."""
