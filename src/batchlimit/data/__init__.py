"""Data sets: finding, fetching, verifying; one registered file each."""
