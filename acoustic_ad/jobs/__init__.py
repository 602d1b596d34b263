"""What runs: training, scoring, their workers and the store."""
