"""Offline files of Weights & Biases: the framing of their records (`framing`), and the records as samples (`format`)."""
