"""Throughput of TensorBoard event files in events a second, beside the `tensorboard` package's EventFileLoader.

Run with ``python bench/events.py``. One core; the best of several runs, which reduces the influence of a busy machine.
The tensorboard package's writer writes the file. Both readers read it from the disk cache and check every checksum.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

from lrwatch.formats.tensorboard.format import TfEvents

EVENTS = 100_000
RUNS = 5
RUNS_OF_PEER = 2
# Bytes of one read by the daemon.
CHUNK_BYTES = 2 << 20


def _simple(step: int) -> list[Summary.Value]:
    return [Summary.Value(tag="train/loss", simple_value=step % 97 / 9)]


def _tensor(step: int) -> list[Summary.Value]:
    value = Summary.Value(tag="epoch_loss", tensor=make_tensor_proto(step % 97 / 9))
    value.metadata.plugin_data.plugin_name = "scalars"
    return [value]


def _hundred_tags(step: int) -> list[Summary.Value]:
    return [Summary.Value(tag=f"grad_norm/layer.{step % 100:02}.weight", simple_value=step % 97 / 9)]


def _many_in_one(step: int) -> list[Summary.Value]:
    return [Summary.Value(tag=f"metric_{number}", simple_value=step % 97 / 9) for number in range(8)]


LOGS: dict[str, Callable[[int], list[Summary.Value]]] = {
    "simple values": _simple,
    "tensors": _tensor,
    "simple values, a hundred tags": _hundred_tags,
    "eight simple values an event": _many_in_one,
}


def _write(directory: str, values: Callable[[int], list[Summary.Value]]) -> Path:
    writer = EventFileWriter(directory)
    for step in range(EVENTS):
        writer.add_event(Event(wall_time=1.7e9 + step / 8, step=step, summary=Summary(value=values(step))))
    writer.close()
    (path,) = Path(directory).iterdir()
    return path


def _best(runs: int, work: Callable[[], int]) -> tuple[float, int]:
    """Return the seconds of the fastest run, and its number of events."""
    seconds, found = [], 0
    for _ in range(runs):
        start = time.perf_counter()
        found = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), found


def ingest(path: Path) -> int:
    """Read a file as the daemon does, and return the number of events."""
    reader = TfEvents()
    records = 0
    rest = b""
    with path.open("rb") as file:
        while True:
            data = file.read(CHUNK_BYTES - len(rest))
            batch, used = reader.feed(rest + data, final=not data)
            records += batch.lines
            if not data:
                return records
            rest = (rest + data)[used:]


def main() -> None:
    """Print the table."""
    print(f"{'file':<34}{'lrwatch events/s':>18}{'tensorboard events/s':>22}{'ratio':>8}")
    for title, values in LOGS.items():
        with tempfile.TemporaryDirectory() as directory:
            path = _write(directory, values)
            seconds, events = _best(RUNS, lambda path=path: ingest(path))  # type: ignore[misc]
            peer, records = _best(RUNS_OF_PEER, lambda path=path: sum(1 for _ in EventFileLoader(str(path)).Load()))  # type: ignore[misc]
        assert events == records == EVENTS + 1  # and the record of the version
        print(f"{title:<34}{events / seconds:>18,.0f}{records / peer:>22,.0f}{peer / seconds:>8.1f}")


if __name__ == "__main__":
    main()
