"""What a newcomer reads about one run of their own, while it trains and when it is over: a real training, daemon and verbs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon_process import DaemonProcess, lrwatch
from support.report_page import Page
from support.voice import PRIVATE
from support.waiting import eventually

pytestmark = pytest.mark.slow

# A training that goes on until a file says that it may end: noise about a floor that its rate sets.
TRAINING = """
import random, sys, pathlib, time
import lrwatch

rate, noise, weight = [0.3], random.Random(1), 3.0
watch = lrwatch.attach(lambda scale: rate.__setitem__(0, 0.3 * scale), sys.argv[1])
end, step = pathlib.Path(sys.argv[2]), 0
while not end.exists():
    weight -= rate[0] * (weight + noise.gauss(0, 1))
    watch.step(loss=0.5 + weight * weight)
    step += 1
    if step % 20 == 0:
        time.sleep(0.005)
watch.close()
"""


class Story:
    """What the verbs said of a run that trained, was operated, and ended."""

    def __init__(self, home: Path) -> None:
        self.home, self.end = home, home / "end"
        (home / "runs/net").mkdir(parents=True)
        self.daemon = DaemonProcess(home / "daemon", "--mode", "approve", "--poll-seconds", "0.05", home / "runs/net")
        arguments = (str(home / "runs/net/lrwatch"), str(self.end))
        self.trainer = subprocess.Popen([sys.executable, "-c", TRAINING, *arguments])
        eventually(lambda: self.value("lrwatch_run_step") > 300, what="some hundred steps")
        self.too_far = self.say("set", "net", "--scale", "0.001")
        self.halved = self.say("set", "net", "--scale", "0.5")
        eventually(lambda: self.value("lrwatch_lr_scale") == 0.5, what="the scale in use")
        self.say("hold", "net")
        self.held = self.say("set", "net", "--scale", "0.4")
        self.say("resume", "net")
        self.said = [self.say("status")]
        self.live = self.report("live.html")
        self.end.touch()
        assert self.trainer.wait(20) == 0
        eventually(lambda: self.value("lrwatch_run_life", life="ended") == 1, what="the end of the run")
        self.said += [self.say(verb) for verb in ("journal", "doctor")]
        self.ended = self.report("ended.html")

    def say(self, *arguments: str) -> str:
        done = lrwatch(*arguments, "--state", self.daemon.state)
        return done.stdout + done.stderr

    def value(self, name: str, **labels: str) -> float:
        return self.daemon.value(name, run="net", **labels) or 0.0

    def report(self, name: str) -> str:
        self.say("report", "net", "-o", str(self.home / name))
        return Page((self.home / name).read_text()).words

    def close(self) -> None:
        self.end.touch()
        self.daemon.end()
        self.trainer.wait(20)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    told = Story(tmp_path_factory.mktemp("story"))
    yield told
    told.close()


def test_a_scale_that_is_refused_is_never_called_on_its_way(story: Story) -> None:
    assert (
        "refused: from scale 1 to 0.001 is a factor of 0.001, and one command changes it by 0.1 to 2" in story.too_far
    )
    assert "`lrwatch set net --scale 0.1` first" in story.too_far, "what to do"
    assert "refused: the run is held; `lrwatch resume net` lets commands through again" in story.held
    assert "on its way" not in story.too_far + story.held
    assert story.halved == "net: scale 0.5 is on its way\n"


def test_the_report_of_a_run_that_trains_has_no_end_yet(story: Story) -> None:
    assert "loss is so far at " in story.live
    assert "ends at" not in story.live


def test_the_report_of_a_run_that_is_over_says_how_it_ended_and_waits_for_nothing(story: Story) -> None:
    assert re.search(r"net: loss ended the training closed its client at step [\d,]+", story.ended)
    assert "loss ends at " in story.ended
    assert "by about step" not in story.ended
    assert "approve: asks before each change" in story.ended


def test_no_line_of_a_verb_has_private_words_or_a_percentage_that_makes_no_sense(story: Story) -> None:
    for line in "\n".join([*story.said, story.live, story.ended]).splitlines():
        assert not [(pattern, line) for pattern in PRIVATE if re.search(pattern, line)]
