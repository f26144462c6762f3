"""Samples in, findings out: one detector a file, each pure, with bounded state that survives a round trip through JSON."""
