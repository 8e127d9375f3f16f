"""The `batchlimit` command, also as `python -m batchlimit`."""

import sys


def main() -> None:
    """Run the command line, and exit with its code."""
    # Within the first tenths of a second, when nothing is there yet that would say more of an interruption.
    try:
        from batchlimit.cli import main as run
    except KeyboardInterrupt:
        print("batchlimit: interrupted", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
