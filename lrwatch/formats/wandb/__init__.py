"""Weights & Biases' offline files: the framing of their records, and the records as samples."""
