"""TensorBoard's event files: the framing of records (`framing`), one event (`event`), events as samples (`format`)."""
