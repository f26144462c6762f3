"""The daemon's side of a run's control directory: reads the observed state, publishes the desired one."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from lrwatch.control.token import claim_token
from lrwatch.protocol import (
    DESIRED_NAME,
    OBSERVED_NAME,
    Desired,
    Observed,
    ProtocolError,
    decode_observed,
    encode,
    publish,
    read_control_file,
    sign,
    sweep,
)


class ControlDirectory:
    """One run's control directory. Decides nothing.

    Args:
        path: The directory; it need not exist yet, the trainer makes it.
        key: Key that signs commands, or None.

    Attributes:
        path: The directory.
        errors: Counter of states that could not be used, by reason; `io` where they could not be read. One that stays is counted
            once.
        problem: Why the newest state cannot be used, as a sentence, or "".
    """

    def __init__(self, path: str | os.PathLike[str], key: bytes | None = None) -> None:
        self.path = Path(path)
        self.errors: Counter[str] = Counter()
        self.problem = ""
        self._fault = ""  # reason of the newest read
        self._key = key

    @property
    def unreadable(self) -> bool:
        """Whether the newest look failed at the disk, so that nobody knows what the trainer says."""
        return self._fault == "io"

    @property
    def exists(self) -> bool:
        """Whether the directory is there."""
        return self.path.is_dir()

    def read_observed(self) -> Observed | None:
        """Read the state that the trainer published last.

        Returns:
            The state, or None without a file and for one that cannot be used; the latter is counted in `errors`.
        """
        observed, fault, self.problem = None, "", ""
        try:
            raw = read_control_file(self.path, OBSERVED_NAME)
            observed = None if raw is None else decode_observed(raw)
        except ProtocolError as error:
            fault = error.code
            self.problem = f"{self.path / OBSERVED_NAME} is not used ({error}), so this trainer is not heard"
        except OSError as error:
            fault = "io"
            self.problem = f"{self.path} cannot be read ({error.strerror or error}), so this trainer is not heard"
        if fault and fault != self._fault:
            self.errors[fault] += 1
        self._fault = fault
        return observed

    def claim_token(self, above: int) -> int:
        """Draw a fencing token higher than `above` that no other daemon has drawn from this directory.

        Temporary files that killed daemons left there are removed.

        Raises:
            OSError: It could not be claimed.
            ProtocolError: The directory is not to be trusted, or there is no higher token.
        """
        sweep(self.path, of_commands=True)
        return claim_token(self.path, above)

    def publish(self, desired: Desired) -> None:
        """Write the command for the trainer, signed if there is a key.

        Raises:
            OSError: It could not be written; the command before it stays in place.
            ProtocolError: It is too large, the key is too short, or the directory is not to be trusted.
        """
        publish(self.path, DESIRED_NAME, encode(desired if self._key is None else sign(desired, self._key)))
