"""Headless Chromium by its own protocol over a pipe: open a page, look at it until it shows what is awaited."""

import base64
import io
import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# SwiftShader draws WebGL without a GPU.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip


class Page:
    """One page. problems: what its console and its policy complained of. origins: where it sent requests."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes = reads, writes
        self._rest, self._number, self._session = b"", 0, None
        self.problems: list[str] = []
        self.urls: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                return answer.get("result", {})
            self._heard(answer)

    def text(self) -> str:
        """Return what the page says."""
        found = self.call("Runtime.evaluate", expression="document.body.innerText", returnByValue=True)
        return str(found["result"]["value"])

    def until(self, shows: Callable[[np.ndarray], bool], seconds: float) -> np.ndarray:
        """Return the picture that shows what is awaited, or the last one."""
        deadline = time.monotonic() + seconds
        while True:
            data = base64.b64decode(self.call("Page.captureScreenshot").get("data", ""))
            if not data:  # between two pages there is nothing to see
                time.sleep(0.2)
                continue
            with Image.open(io.BytesIO(data)) as image:
                picture = np.asarray(image.convert("RGB")).astype(int)
            if shows(picture) or time.monotonic() > deadline:
                return picture
            time.sleep(0.5)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._reads], [], [], 60)[0]:
                raise TimeoutError("the browser does not answer")
            self._rest += os.read(self._reads, 1 << 20)
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _heard(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.urls.append(params["request"]["url"])
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(params["entry"]["text"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.problems.append(params["exceptionDetails"].get("text", "exception"))


@contextmanager
def browser(chromium: str, folder: Path, size: str = "1280,900") -> Iterator[Page]:
    """Yield a page of a browser that ends with the block."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    command = [chromium, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--window-size={size}", "about:blank"]
    script = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
    process = subprocess.Popen(
        ["bash", "-c", script, "browser", *command],
        pass_fds=[theirs_in, theirs_out],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(folder)},
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Page(ours_in, ours_out)
    finally:
        process.kill()
        process.wait()
        os.close(ours_in)
        os.close(ours_out)
