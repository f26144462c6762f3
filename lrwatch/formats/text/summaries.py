"""Lines that say again what other lines said: the mean of an epoch below its steps, the last loss at the end of a log.

A loss that came on lines with a step is another quantity on a line with an epoch alone: the mean of that epoch, the metric
``epoch.loss``. On a line without any place it is a summary, and no sample.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.names import role
from lrwatch.formats.text.recipe import Recipe

MEAN = "epoch."
"""Prefix of the name of a metric that is the mean of an epoch, beside its values at steps."""

_FINENESS = Literal["", "epoch", "step"]


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
        if recipe.kind == "record" and (fine := _fineness(recipe)):
            for name in _losses(recipe):
                self.placed[name] = self.placed.get(name, False) or fine == "step"

    def note_names(self, names: Iterable[str]) -> None:
        """Take note of the metrics of a bar of an epoch or of a row, which have a place too."""
        for name in names:
            if role(name) in ("train_loss", "val_loss"):
                self.placed.setdefault(name, False)

    def renamed(self, recipe: Recipe) -> dict[str, str]:
        """Return the names of metrics of a line that are summaries, and what they are called instead; "" is dropped."""
        if recipe.kind != "record" or not self.placed or (fine := _fineness(recipe)) == "step":
            return {}
        if not fine:
            return {name: "" for name in _losses(recipe) if name in self.placed}
        return {name: MEAN + name for name in _losses(recipe) if self.placed.get(name) and role(name) == "train_loss"}

    def concerns(self, recipes: Iterable[Recipe]) -> bool:
        """Return whether some of these lines may be summaries, of others among them or before."""
        after = Summaries(dict(self.placed))
        known = list(recipes)
        for recipe in known:
            after.note(recipe)
        return any(after.renamed(recipe) for recipe in known)


def _fineness(recipe: Recipe) -> _FINENESS:
    if recipe.step is not None or recipe.index is not None:
        return "step"
    return "epoch" if recipe.epoch is not None else ""


def _losses(recipe: Recipe) -> list[str]:
    return [slot.name for slot in recipe.slots if slot.name and role(slot.name) in ("train_loss", "val_loss")]
