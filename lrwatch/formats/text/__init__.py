"""Text that trainers print: a general extractor, and presets for the lines that it cannot understand.

The way of a line::

    bytes -> lines -> mask (all digits are 0) -> recipe: by a preset, or the general extractor -> records -> samples

Training logs repeat a few lines with other digits. So a line is not searched for names and numbers: its mask is looked
up, and only a new mask is searched. `engine` reads the log, `presets` and `general` find recipes, `records` puts lines
together and `counters` computes steps. To add a kind of line, copy a preset: `presets/boosting.py` is a short one.
"""

from lrwatch.formats.text.engine import Text

__all__ = ["Text"]
