"""What is computed from records alone, without torch: laws fitted, intervals, paired tests."""
