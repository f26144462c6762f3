from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest

from lrwatch.core.curve import Curve
from lrwatch.notify.picture import _BAND, _LINE, _MARK, HEIGHT, WIDTH, Plot


def decoded(png: bytes) -> npt.NDArray[np.uint8]:
    """The pixels, by the rules of the format, with every check sum compared."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + data)
        chunks[kind] = data
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (width, height, depth, colour) == (WIDTH, HEIGHT, 8, 2)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


def plot(values: npt.NDArray[np.float64], mark: int | None = None) -> Plot:
    curve = Curve()
    curve.add(np.arange(len(values)), values)
    made = Plot.of("loss", curve, mark)
    assert made is not None
    return made


def test_the_curve_falls_from_the_upper_left_to_the_lower_right_and_has_its_mark() -> None:
    pixels = decoded(plot(np.linspace(5.0, 1.0, 1000), mark=500).png())
    rows, columns = np.nonzero((pixels == _LINE).all(axis=2))
    assert rows[columns == columns.min()].mean() < HEIGHT * 0.15
    assert rows[columns == columns.max()].mean() > HEIGHT * 0.8
    _, marked = np.nonzero((pixels == _MARK).all(axis=2))
    share = (marked.mean() - columns.min()) / (columns.max() - columns.min())
    assert share == pytest.approx(0.5, abs=0.02)


def test_noise_is_a_band() -> None:
    noisy = 2 + 0.5 * np.random.default_rng(1).standard_normal(20_000)
    pixels = decoded(plot(noisy).png())
    assert (pixels == _BAND).all(axis=2).sum() > 10_000


def test_a_picture_is_a_few_kilobytes_and_says_what_it_shows() -> None:
    steps = np.arange(50_000)
    made = plot(2 + np.exp(-steps / 5000))
    assert len(made.png()) < 10_000
    assert made.caption.startswith("loss, steps ")
    assert "lowest 2" in made.caption


def test_a_spike_makes_no_flat_line_of_the_rest_and_that_it_is_cut_is_said() -> None:
    values = 2 + np.exp(-np.arange(10_000) / 1000)
    values[5000:5010] = 1e9
    made = plot(values)
    assert "is cut" in made.caption
    rows, _ = np.nonzero((decoded(made.png()) == _LINE).all(axis=2))
    assert np.quantile(rows, 0.9) - np.quantile(rows, 0.1) > HEIGHT / 4


@pytest.mark.parametrize(
    "values",
    [np.full(100, 2.5), np.zeros(50), np.array([1e150, -1e150, 1e150, 5.0]), np.array([1.0, 2.0]), np.full(40, 1e-300)],
)
def test_any_values_give_a_picture(values: npt.NDArray[np.float64]) -> None:
    decoded(plot(values, mark=1).png())


def test_without_a_curve_there_is_no_picture() -> None:
    curve = Curve()
    assert Plot.of("loss", curve) is None
    curve.add(np.arange(5), np.full(5, np.nan))
    assert Plot.of("loss", curve) is None
    with np.errstate(over="ignore"):
        curve.add(np.arange(5, 10), np.full(5, 1e300))
    assert Plot.of("loss", curve) is None
