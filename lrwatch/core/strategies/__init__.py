"""Findings and trends in, the scale to ask for out: pure functions over a frozen state with named fields."""
