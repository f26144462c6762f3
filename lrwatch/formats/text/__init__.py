"""Text that trainers print: a general extractor, and presets for what it cannot know.

The way of a line::

    bytes -> lines -> mask (all digits are 0) -> recipe: by a preset, or the general extractor -> records -> samples

Training logs repeat a few lines with other digits, so a line is not searched for names and numbers: its mask is looked up,
and only a mask that was not seen before is searched. `engine` reads, `general` and `presets` find recipes, `place` counts.
"""

from lrwatch.formats.text.engine import Text

__all__ = ["Text"]
