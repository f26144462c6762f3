"""Lines that say again what other lines said: the mean of an epoch below its steps, the last loss at the end of a log.

A loss that came on lines with a step is another quantity on a line with an epoch alone: the mean of that epoch, the metric
``epoch.loss``. So is ``Train Loss`` beside the ``loss`` of the steps, also on a line with the validation's. On a line
without any place it is a summary, and no sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.names import is_total, role
from lrwatch.formats.text.recipe import Recipe

MEAN = "epoch."
"""Prefix of the name of a metric that is the mean of an epoch, beside its values at steps."""


@dataclass
class Summaries(Checkpointed):
    """The losses of a log that came on lines with a place.

    Attributes:
        placed: Names of losses, and whether there was a step beside them (else an epoch alone).
    """

    SAVED: ClassVar[tuple[str, ...]] = ("placed",)

    placed: dict[str, bool] = field(default_factory=dict)

    def note(self, recipe: Recipe) -> None:
        """Take note of a line."""
        if recipe.kind == "record" and recipe.has_place:
            for name in recipe.losses:
                self.placed[name] = self.placed.get(name, False) or recipe.has_step

    def note_names(self, names: Iterable[str]) -> None:
        """Take note of the metrics of a bar of an epoch or of a row, which have a place too."""
        for name in names:
            if name not in self.placed and role(name) in ("train_loss", "val_loss"):
                self.placed[name] = False

    def note_at_step(self, names: Iterable[str]) -> None:
        """Take note of metrics that have a step: those of a progress bar or of a row."""
        self.placed.update((name, True) for name in names if role(name) in ("train_loss", "val_loss"))

    def of_row(self, values: dict[str, float]) -> dict[str, float]:
        """Take note of a row of a table, and return its values: those of an epoch beside others at steps are means."""
        if any(role(name) == "step" for name in values):
            self.note_at_step(values)
            return values
        self.note_names(values)
        return {
            MEAN + name if self.placed.get(name) and role(name) == "train_loss" else name: value
            for name, value in values.items()
        }

    def renamed(self, recipe: Recipe) -> dict[str, str]:
        """Return the names of metrics of a line that are summaries, and what they are called instead; "" is dropped."""
        if recipe.kind != "record" or not self.placed or recipe.has_step:
            return {}
        total = any(at_step and is_total(name) for name, at_step in self.placed.items())
        both = recipe.has_place or any(role(name) == "val_loss" for name in recipe.losses)
        means = {name: MEAN + name for name in recipe.losses if total and both and is_total(name)}
        if not recipe.has_place:
            return means | {name: "" for name in recipe.losses if name in self.placed}
        same = {name for name in recipe.losses if self.placed.get(name) and role(name) == "train_loss"}
        return means | {name: MEAN + name for name in same}

    def renamed_from(
        self, recipes: Mapping[bytes, Recipe], lines: Mapping[bytes, list[int]]
    ) -> dict[bytes, dict[str, tuple[int, str]]]:
        """Return what `renamed` says of lines that stand alone, without reading them in order.

        Args:
            recipes: The recipe of each mask.
            lines: The numbers of the lines of each mask, ascending.

        Returns:
            For each mask with summaries, the number of the line behind which a metric is one, and what it is called instead.
        """
        placed = dict.fromkeys(self.placed, -1)
        at_step = {name: -1 for name, has_step in self.placed.items() if has_step}
        coarse = []
        for mask, recipe in recipes.items():
            if recipe.kind == "record" and recipe.losses:
                if not recipe.has_step:
                    coarse.append(mask)
                for known in (placed,) * recipe.has_place + (at_step,) * recipe.has_step:
                    for name in recipe.losses:
                        known[name] = min(known.get(name, lines[mask][0]), lines[mask][0])
        found = {}
        for mask in coarse:
            after = Summaries({name: name in at_step for name in placed}).renamed(recipes[mask])
            since = at_step if recipes[mask].has_place else placed
            of_total = min((at for name, at in at_step.items() if is_total(name)), default=-1)
            if after:
                found[mask] = {name: (since.get(name, of_total), new) for name, new in after.items()}
        return found
