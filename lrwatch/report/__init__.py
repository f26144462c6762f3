"""One self-contained page about a run: curve, phases, findings, commands, effects.

`ReportData` says what goes in, `render` gives the page, `write` puts it into a file. Nothing here reads a log or a
journal; the daemon's side does, and hands over arrays and events.
"""

from lrwatch.report.model.comparison import compare
from lrwatch.report.model.data import MetricCurve, ReportData
from lrwatch.report.page.page import Live, render, write

__all__ = ["Live", "MetricCurve", "ReportData", "compare", "render", "write"]
