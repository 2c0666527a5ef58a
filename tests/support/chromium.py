"""Chromium without a window, told what to do over a pair of pipes (--remote-debugging-pipe): no
port, no driver, nothing to install beside the browser.

    with Chromium(profile_dir) as chromium:
        page = chromium.open("file:///tmp/report.html")
        assert page.run("document.title") == "..."
        assert not page.errors

Commands and events are those of the Chrome DevTools Protocol.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE_S = 60.0
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--disable-extensions", "--no-proxy-server", "--mute-audio"),
    *("--disable-default-apps", "--force-device-scale-factor=1", "--hide-scrollbars"),
)


def program() -> str | None:
    """The browser's path, if there is one."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


def obstacle() -> str | None:
    """Why nothing here can be tested, if so."""
    return None if program() else "chromium is not installed (on Debian: apt-get install chromium)"


class ChromiumError(Exception):
    """The browser said no, or nothing."""


class Chromium:
    """The browser. Its profile is new, in `profile`."""

    def __init__(self, profile: Path, *, within: tuple[str, ...] = ()) -> None:
        found = program()
        assert found is not None
        low_in, self._out = os.pipe()
        self._in, low_out = os.pipe()
        # Out of the way of the descriptors 3 and 4, from which it reads and to which it writes.
        to_browser, from_browser = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (low_in, low_out))
        flags = [*_FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
        shell = f'exec "$@" 3<&{to_browser} 4>&{from_browser} {to_browser}<&- {from_browser}>&-'
        self._process = subprocess.Popen(
            [*within, "bash", "-c", shell, "bash", found, *flags],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "HOME": str(profile)},
        )
        for fd in (low_in, low_out, to_browser, from_browser):
            os.close(fd)
        self._number = 0
        self._read = b""
        self._pages: dict[str, Page] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        try:
            self.send("Browser.close")
            self._process.wait(10)
        except (ChromiumError, OSError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(self._process.pid, signal.SIGKILL)  # its children, too
        except ProcessLookupError:
            pass
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def open(self, url: str, *, width: int = 1500, height: int = 1000) -> Page:
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Runtime", "Log", "Page"):
            page.send(f"{domain}.enable")
        page.resize(width, height)
        page.go(url)
        return page

    def send(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """The result of a command. Raises ChromiumError."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        while True:
            answer = self.next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise ChromiumError(f"{method}: {answer['error'].get('message')}")
                result: dict[str, Any] = answer["result"]
                return result

    def next(self) -> dict[str, Any]:
        """The next message; the pages have noted it if it is an event of theirs."""
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._in], [], [], PATIENCE_S)
            if not ready:
                raise ChromiumError(f"no answer within {PATIENCE_S:.0f} s")
            chunk = os.read(self._in, 1 << 20)
            if not chunk:
                raise ChromiumError(f"it has ended: exit code {self._process.poll()}")
            self._read += chunk
        line, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        page = self._pages.get(message.get("sessionId", ""))
        if page is not None and "method" in message:
            page.note(message["method"], message["params"])
        return message


class Page:
    """One page. `errors`: what its console has shown as an error or a warning, and what it has
    failed to load."""

    def __init__(self, chromium: Chromium, session: str) -> None:
        self._chromium = chromium
        self._session = session
        self._loaded = False
        self.errors: list[str] = []

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        return self._chromium.send(method, self._session, **params)

    def note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            told = details.get("exception", {}).get("description") or details["text"]
            self.errors.append(told)
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.errors.append(" ".join(str(arg.get("value")) for arg in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def go(self, url: str) -> None:
        """Load a page, and what it needs."""
        self._loaded = False
        failed = self.send("Page.navigate", url=url).get("errorText")
        if failed:
            raise ChromiumError(f"{url}: {failed}")
        while not self._loaded:
            self._chromium.next()

    def run(self, script: str) -> Any:
        """The value of an expression, promises awaited. Raises ChromiumError if it throws."""
        answer = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise ChromiumError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def until(self, condition: str) -> Any:
        """Wait, as long as the page lives and not for ever, for an expression to be true."""
        return self.run(
            f"""new Promise((done, failed) => {{
                const began = performance.now();
                const look = () => {{
                    const found = ({condition});
                    if (found) done(found);
                    else if (performance.now() - began > {PATIENCE_S / 2 * 1000})
                        failed(new Error("never: " + {json.dumps(condition)}));
                    else setTimeout(look, 20);
                }};
                look();
            }})"""
        )

    def click(self, x: float, y: float) -> None:
        """With the pointer, at a place in CSS pixels."""
        self.move(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def move(self, x: float, y: float) -> None:
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click_on(self, element: str) -> None:
        """On the middle of what an expression names."""
        x, y = self.run(
            f"(() => {{ const e = {element}; const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        self.click(x, y)

    def press(self, key: str) -> None:
        """A key by its name: "ArrowDown"; or a letter."""
        text = {"text": key} if len(key) == 1 else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def resize(self, width: int, height: int) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, scheme: str) -> None:
        """ "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path) -> None:
        shot = self.send("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))
