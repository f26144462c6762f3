"""The formats of logs: bytes in, samples out. A new one is a file here and a line in `FORMATS` (`lrwatch.formats.detect`)."""

from lrwatch.formats.base import Format
from lrwatch.formats.detect import FORMATS, HEAD_BYTES, by_name, detect, restore

__all__ = ["FORMATS", "HEAD_BYTES", "Format", "by_name", "detect", "restore"]
