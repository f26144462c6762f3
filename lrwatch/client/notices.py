"""What the client says in the log about a training that the scale does not reach, once each."""

from __future__ import annotations

from lrwatch.protocol import NotActing

TWO_TRAINERS = (
    "another training that runs uses this control directory; a command reaches only one of the two. End one of them, or give each "
    "its own directory; processes that train together are given as attach(..., ranks=)."
)

_NO_ACTION = "Until then its learning rate is reported as unknown, and no command is answered with applied. The training continues."
NOT_ACTING_WORDS: dict[NotActing, str] = {
    "no_step": "the attached optimizer does not step while watch.step() is called: was it created again, or is it inside another one? "
    f"Attach the optimizer that steps. {_NO_ACTION}",
    "some_no_step": "some of the attached optimizers do not step while watch.step() is called: were they created again? Attach those "
    f"that step. {_NO_ACTION}",
    "lr_written_in_step": "the optimizer writes its own learning rate in step(), so lrwatch cannot scale it and leaves it alone: "
    "attach a callable, or None and read watch.scale. Its learning rate is reported as unknown. The training continues.",
    "no_lr": "the optimizer has no learning rate in its parameter groups, or does not use it, so there is nothing to scale: attach a "
    "callable, or None and read watch.scale. The training continues.",
}
"""Sentences for people by reason."""
