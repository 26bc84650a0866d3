"""The `planwave` command, also as `python -m planwave`."""

from graphs.cli.app import main

if __name__ == "__main__":
    main()
