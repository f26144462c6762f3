"""Debian's chromium, driven over its debugging pipe: real keys, real sizes, real colour schemes, and no package for it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# Starting a browser on a loaded machine takes a while.
_SECONDS = 120.0

_KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), "ArrowDown": (40, ""), "ArrowUp": (38, ""), "+": (187, "+")}


class Browser:
    """One page of a headless browser.

    Args:
        profile: A directory of its own.
    """

    def __init__(self, profile: Path) -> None:
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        command = [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
            f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank",
        ]  # fmt: skip

        # The browser reads from descriptor 3 and writes to 4.
        redirect = ["bash", "-c", f'exec "$@" 3<&{to_browser} 4>&{from_browser}', "browser", *command]
        self._process = subprocess.Popen(
            redirect, pass_fds=(to_browser, from_browser), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._read = b""
        self._number = 0
        self._session: str | None = None
        self.errors: list[str] = []
        targets = self._call("Target.getTargets")["targetInfos"]
        target = next(one["targetId"] for one in targets if one["type"] == "page")
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def close(self) -> None:
        """End the browser and all of its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def open(self, url: str) -> None:
        """Load a page, and wait until its scripts have run."""
        self.errors.clear()
        self._call("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && location.href === {json.dumps(url)}")

    def size(self, width: int, height: int) -> None:
        """Set the size of the window, in pixels."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def scheme(self, colours: str) -> None:
        """Prefer `light` or `dark` colours."""
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": colours}])

    def script(self, *, on: bool) -> None:
        """Let pages run scripts, or not."""
        self._call("Emulation.setScriptExecutionDisabled", value=not on)

    def press(self, key: str) -> None:
        """Press and release a key."""
        code, text = _KEYS.get(key, (ord(key[0].upper()), key))
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self._call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)

    def value(self, expression: str) -> Any:
        """Return the value of an expression in the page, as JSON has it."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str, *, timeout: float = 60.0) -> None:
        """Wait until an expression in the page is true; a page that is on its way has no document for a moment."""
        ends = time.monotonic() + timeout
        while not self.value(f"document.documentElement !== null && ({expression})"):
            assert time.monotonic() < ends, f"{expression} never came true; errors: {self.errors}"
            select.select([], [], [], 0.05)

    def picture(self) -> bytes:
        """Return the visible part of the page as a PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        ends = time.monotonic() + _SECONDS
        while True:
            while b"\0" not in self._read:
                ready, _, _ = select.select([self._in], [], [], max(0.0, ends - time.monotonic()))
                part = os.read(self._in, 1 << 16) if ready else b""
                assert part, f"the browser does not answer to {method}"
                self._read += part
            text, _, self._read = self._read.partition(b"\0")
            answer = json.loads(text)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        """Remember what the page complains of: exceptions, and what its policy has refused."""
        if event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(event["params"]["exceptionDetails"]))
        if event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
            self.errors.append(event["params"]["entry"]["text"])
