"""Protocol between daemon and trainer: two small files in the run's control directory.

`desired.json` is written by the daemon and holds the scale that the learning rate shall have. `observed.json` is written by
the trainer and holds what became of it. Both are level-triggered: a file states what *is* wanted or observed, never a
change to make, so a repeated, lost or re-read file does no harm.

`messages` defines `Desired` and `Observed`, `codec` turns them into bytes and back, `files` publishes and reads them. The
training process imports this package, so it needs the standard library only and imports little of it: see `lean`.
"""

from __future__ import annotations

from lrwatch.protocol.codec import VERSION, decode_desired, decode_observed, encode, sign, verify
from lrwatch.protocol.files import (
    DESIRED_NAME,
    EVIDENCE_NAME,
    METRICS_NAME,
    OBSERVED_NAME,
    ROTATED_NAME,
    open_directory,
    publish,
    read_control_file,
    read_key,
    sweep,
)
from lrwatch.protocol.lean import asdict, replace
from lrwatch.protocol.messages import (
    GOODBYES,
    MAX_AHEAD,
    MAX_BYTES,
    MAX_GROUPS,
    MAX_INT,
    MAX_NAME,
    MAX_TEXT,
    NOT_ACTING,
    REJECTION_CODES,
    Desired,
    FaultCode,
    Goodbye,
    Message,
    NotActing,
    Observed,
    ObservedStatus,
    ProtocolError,
    RejectionCode,
    TrainerLife,
)
from lrwatch.protocol.process import Process, is_alive, own_process

__all__ = [
    "DESIRED_NAME",
    "EVIDENCE_NAME",
    "GOODBYES",
    "MAX_AHEAD",
    "MAX_BYTES",
    "MAX_GROUPS",
    "MAX_INT",
    "MAX_NAME",
    "MAX_TEXT",
    "METRICS_NAME",
    "NOT_ACTING",
    "OBSERVED_NAME",
    "REJECTION_CODES",
    "ROTATED_NAME",
    "VERSION",
    "Desired",
    "FaultCode",
    "Goodbye",
    "Message",
    "NotActing",
    "Observed",
    "ObservedStatus",
    "Process",
    "ProtocolError",
    "RejectionCode",
    "TrainerLife",
    "asdict",
    "decode_desired",
    "decode_observed",
    "encode",
    "is_alive",
    "open_directory",
    "own_process",
    "publish",
    "read_control_file",
    "read_key",
    "replace",
    "sign",
    "sweep",
    "verify",
]
