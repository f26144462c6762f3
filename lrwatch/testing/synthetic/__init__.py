"""Loss curves and runs with known truth."""
