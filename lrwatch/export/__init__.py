"""What lrwatch tells Prometheus and the health checks, over HTTP. Reads the snapshot and nothing else; changes nothing."""

from lrwatch.export.exporter import Exporter

__all__ = ["Exporter"]
