"""TensorBoard's event files: the framing of their records, one event, and the events as samples."""
