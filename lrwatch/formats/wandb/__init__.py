"""Offline files of Weights & Biases: the framing of records (`framing`), and records as samples (`format`)."""
