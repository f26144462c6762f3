"""The picture of a run that is watched: the loop adds to it, and the threads of pages read it.

The lock is held for as long as some hundred values take to sort in, or some thousand points to copy: less than a millisecond.
"""

from __future__ import annotations

import io
import json
import threading
import zipfile

import numpy as np

from lrwatch.core.picture import Picture, PictureCurve
from lrwatch.core.sample import Batch


class LivePicture:
    """A picture behind a lock.

    Args:
        saved: What `saved` returned in an earlier process, or None.
        kept: Whether samples are kept at all.

    Attributes:
        changed: Whether it has changed since it was saved last.
    """

    def __init__(self, saved: bytes | None = None, *, kept: bool = True) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._picture = Picture() if saved is None else _loaded(saved)
        self.changed = False

    def add(self, batch: Batch, decides: str | None) -> None:
        """Take samples, as `Picture.add` does."""
        if not self._kept:
            return
        with self._lock:
            self._picture.add(batch, decides)
            self.changed = True

    def clear(self) -> None:
        """Start over: earlier values are on another axis."""
        with self._lock:
            self._picture, self.changed = Picture(), True

    def curves(self) -> list[PictureCurve]:
        """Return the curves, as `Picture.curves` does. They are copies."""
        with self._lock:
            return self._picture.curves()

    def saved(self) -> bytes:
        """Return the picture as bytes, and take it for saved."""
        with self._lock:
            arrays = self._picture.arrays()
            self.changed = False
        file = io.BytesIO()
        names = np.frombuffer(json.dumps([name for name, _ in arrays]).encode(), np.uint8)
        np.savez(file, names=names, **{f"{i}.{key}": a for i, (_, of) in enumerate(arrays) for key, a in of.items()})
        return file.getvalue()


def _loaded(saved: bytes) -> Picture:
    """Return the picture of `saved`; an empty one where it is damaged, because it is nothing but a picture."""
    picture = Picture()
    try:
        with np.load(io.BytesIO(saved), allow_pickle=False) as file:
            names = json.loads(file["names"].tobytes())
            keys = ("numbers", "blocks", "lost")
            picture.take([(name, {key: file[f"{i}.{key}"] for key in keys}) for i, name in enumerate(names)])
    except (ValueError, KeyError, OSError, zipfile.BadZipFile):
        return Picture()
    return picture
