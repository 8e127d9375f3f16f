"""The tuners: one registered file each."""
