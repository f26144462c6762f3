"""The HTTP side of the daemon: Prometheus, health checks, a landing page. Reads the snapshot only, and changes nothing."""

from lrwatch.export.exporter import Exporter

__all__ = ["Exporter"]
