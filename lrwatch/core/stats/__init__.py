"""Streaming statistics that the detectors are made of: one a file, pure, with bounded state."""
