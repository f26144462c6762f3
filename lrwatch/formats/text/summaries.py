"""Lines that say again what other lines said: the mean of an epoch below its steps, the last loss at the end of a log.

A loss that came on lines with a step is another quantity on a line with an epoch alone: the mean of that epoch, the metric
``epoch.loss``. So is ``Train Loss`` beside the ``loss`` of the steps, also on a line with the validation's. On a line
without any place it is a summary, and no sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.names import is_total, role
from lrwatch.formats.text.recipe import Recipe

MEAN = "epoch."
"""Prefix of the name of a metric that is the mean of an epoch, beside its values at steps."""

Calls = list[tuple[int, str]]
"""Numbers of lines, ascending, and what a metric is called behind each; "" is dropped."""


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
    ) -> dict[bytes, dict[str, Calls]]:
        """Return what `renamed` says of lines that stand alone, without reading them in order.

        Args:
            recipes: The recipe of each mask.
            lines: The numbers of the lines of each mask, ascending.

        Returns:
            For each mask with summaries, what a metric is called behind which line.
        """
        placed = dict.fromkeys(self.placed, -1)
        at_step = {name: -1 for name, has_step in self.placed.items() if has_step}
        coarse = []
        for mask, recipe in recipes.items():
            if recipe.kind == "record" and recipe.losses:
                if not recipe.has_step:
                    coarse.append(mask)
                for first in (placed,) * recipe.has_place + (at_step,) * recipe.has_step:
                    for name in recipe.losses:
                        first[name] = min(first.get(name, lines[mask][0]), lines[mask][0])
        since = sorted({*placed.values(), *at_step.values()})
        known: dict[tuple[tuple[str, ...], bool], dict[str, Calls]] = {}
        found = {}
        for mask in coarse:
            kind = recipes[mask].losses, recipes[mask].has_place
            if kind not in known:
                known[kind] = _calls(recipes[mask], since, placed, at_step)
            if known[kind]:
                found[mask] = known[kind]
        return found


def _calls(
    recipe: Recipe, since: Sequence[int], placed: Mapping[str, int], at_step: Mapping[str, int]
) -> dict[str, Calls]:
    """Return what the metrics of a line are called behind each of the lines `since`; see `Summaries.renamed_from`."""
    calls: dict[str, Calls] = {}
    for line in since:
        so_far = Summaries({name: at_step.get(name, line + 1) <= line for name, at in placed.items() if at <= line})
        after = so_far.renamed(recipe)
        for name in recipe.losses:
            new = after.get(name, name)
            if new != (calls[name][-1][1] if name in calls else name):
                calls.setdefault(name, []).append((line, new))
    return calls
