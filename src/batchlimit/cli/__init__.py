"""The command line: one command a file."""

from batchlimit.cli.app import main

__all__ = ["main"]
