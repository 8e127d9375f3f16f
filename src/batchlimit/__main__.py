"""`python -m batchlimit`: the same as the `batchlimit` command."""

from batchlimit.cli import main

if __name__ == "__main__":
    main()
