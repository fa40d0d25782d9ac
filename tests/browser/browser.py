"""A headless Chromium for tests, driven over its debugging pipe: no driver, no extra download.

    with Browser() as browser:
        page = browser.open("http://127.0.0.1:8000/", dark=True)
        page.wait_for("window.Bokeh && Bokeh.documents.length > 0")
        page.screenshot("page.png")
        assert page.errors == [] and page.outside == []

A page keeps what a careful person would see in the developer tools: `errors` (uncaught exceptions, console errors, requests that failed), `warnings`,
`requests` (every address that was asked for) and `outside` (those that would leave this machine). Nothing does leave: names are not resolved.
"""
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--disable-extensions", "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check", "--mute-audio",
    "--hide-scrollbars", "--force-color-profile=srgb", "--allow-file-access-from-files", "--remote-debugging-pipe",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LOCAL = ("127.0.0.1", "localhost", "::1")


class BrowserError(RuntimeError):
    "The browser did not start, went away, or did not answer in time."


def find_chromium() -> str | None:
    "Path of a Chromium on this machine, or None; `CHROMIUM` names another one."
    for name in (os.environ.get("CHROMIUM", ""), *NAMES):
        if name and (found := shutil.which(name)):
            return found
    return None


def leaves_machine(url: str) -> bool:
    "Whether a request for `url` goes to another machine."
    parts = urlsplit(url)
    return parts.scheme in ("http", "https", "ws", "wss", "ftp") and parts.hostname not in LOCAL


class Browser:
    "One Chromium process with a throw-away profile; use it as a context manager."

    def __init__(self, executable: str | None = None, *, timeout: float = 60.0):
        "Start the browser and wait for its first answer."
        executable = executable or find_chromium()
        if not executable:
            raise BrowserError("chromium is not installed")
        self.timeout, self._next, self._buffer, self._replies = timeout, 0, b"", {}
        self.pages: dict[str, Page] = {}
        self._profile = tempfile.mkdtemp(prefix="qtnb-chromium-")
        child_in, self._to = os.pipe()
        self._from, child_out = os.pipe()

        def pipes() -> None:  # the debugging pipe is file descriptors 3 and 4 of the child
            high_in, high_out = os.dup(child_in), os.dup(child_out)
            if min(high_in, high_out) <= 4:
                high_in, high_out = os.dup(high_in), os.dup(high_out)
            os.dup2(high_in, 3)
            os.dup2(high_out, 4)

        self._log = open(Path(self._profile) / "stderr.txt", "wb")
        self._process = subprocess.Popen([executable, *FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
                                         stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, close_fds=False, preexec_fn=pipes)
        os.close(child_in)
        os.close(child_out)
        self.version = self.call("Browser.getVersion")["product"]

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        "End the process and remove its profile."
        if self._process.poll() is None:
            try:
                self.call("Browser.close")
                self._process.wait(10)
            except (BrowserError, OSError, subprocess.TimeoutExpired):
                self._process.kill()
                self._process.wait(10)
        for fd in (self._to, self._from):
            os.close(fd)
        self._log.close()
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method: str, session: str | None = None, **params) -> dict:
        "Send one command and return its result; events that arrive meanwhile go to their pages."
        self._next += 1
        number = self._next
        message = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data):]
        self.pump(lambda: number in self._replies, f"answer to {method}")
        reply = self._replies.pop(number)
        if "error" in reply:
            raise BrowserError(f"{method}: {reply['error'].get('message')}")
        return reply["result"]

    def pump(self, done, what: str) -> None:
        "Read messages until `done()` holds."
        deadline = time.monotonic() + self.timeout
        while not done():
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise BrowserError(f"no {what} within {self.timeout:g} seconds")
            chunk = os.read(self._from, 1 << 20)
            if not chunk:
                self._log.flush()
                tail = (Path(self._profile) / "stderr.txt").read_text(errors="replace")[-1500:]
                raise BrowserError(f"the browser went away while waiting for {what}\n{tail}")
            *messages, self._buffer = (self._buffer + chunk).split(b"\0")
            for raw in messages:
                message = json.loads(raw)
                if "id" in message:
                    self._replies[message["id"]] = message
                elif page := self.pages.get(message.get("sessionId", "")):
                    page._event(message["method"], message["params"])

    def open(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> "Page":
        "Open `url` in a new tab and wait until it has loaded."
        return Page(self, width, height, dark).goto(url)


class Page:
    "One tab, and what it complained of."

    def __init__(self, browser: Browser, width: int, height: int, dark: bool):
        "Open an empty tab."
        self.browser, self.errors, self.warnings, self.requests, self._loads = browser, [], [], [], 0
        self._urls: dict[str, str] = {}
        self._target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        browser.pages[self._session] = self
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def call(self, method: str, **params) -> dict:
        "Send one command to this tab."
        return self.browser.call(method, self._session, **params)

    def _event(self, method: str, params: dict) -> None:
        if method == "Page.loadEventFired":
            self._loads += 1
        elif method == "Runtime.exceptionThrown":
            detail = params["exceptionDetails"]
            self.errors.append("exception: " + (detail.get("exception", {}).get("description") or detail["text"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert", "warning"):
            text = " ".join(str(a.get("value", a.get("description", ""))) for a in params["args"])
            (self.warnings if params["type"] == "warning" else self.errors).append(f"console: {text}")
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            entry = params["entry"]
            target = self.errors if entry["level"] == "error" else self.warnings
            target.append(f"log: {entry['text']} {entry.get('url', '')}".strip())
        elif method == "Network.requestWillBeSent":
            self._urls[params["requestId"]] = params["request"]["url"]
            self.requests.append(params["request"]["url"])
        elif method == "Network.loadingFailed" and not params.get("canceled"):
            self.errors.append(f"request failed: {self._urls.get(params['requestId'])} {params['errorText']}")

    @property
    def outside(self) -> list[str]:
        "Addresses on other machines that the page asked for."
        return [u for u in self.requests if leaves_machine(u)]

    def goto(self, url: str) -> "Page":
        "Load `url`, wait for the load event and two painted frames, also of the page that it leads to."
        before = self._loads
        answer = self.call("Page.navigate", url=url)
        if answer.get("errorText"):
            raise BrowserError(f"{url}: {answer['errorText']}")
        self.browser.pump(lambda: self._loads > before, f"load event of {url}")
        for left in reversed(range(5)):  # a page whose script goes on to another one starts anew
            try:
                self.evaluate("document.fonts.ready.then(() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(true)))))")
                return self
            except BrowserError as error:
                if "navigated" not in str(error) or not left:
                    raise
        return self

    def evaluate(self, expression: str):
        "Value of a JavaScript expression; a promise is awaited."
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            detail = answer["exceptionDetails"]
            raise BrowserError(f"{expression}: {detail.get('exception', {}).get('description') or detail['text']}")
        return answer["result"].get("value")

    def wait_for(self, condition: str, *, timeout: float = 20.0, fail: bool = True) -> bool:
        "Wait until a JavaScript expression is true; the page itself watches it. An error, or False, when it never is."
        held = self.evaluate(f"""new Promise(done => {{
            const end = performance.now() + {timeout * 1000};
            const look = () => {{
                let ok = false;
                try {{ ok = Boolean({condition}); }} catch (e) {{ }}
                if (ok) done(true); else if (performance.now() > end) done(false); else setTimeout(look, 25);
            }};
            look();
        }})""")
        if not held and fail:
            raise BrowserError(f"{condition!r} did not become true within {timeout:g} seconds")
        return bool(held)

    def text(self) -> str:
        "The text a reader sees."
        return self.evaluate("document.body.innerText")

    def screenshot(self, path: str | Path, *, full: bool = True) -> Path:
        "Save a picture of the whole page, or of the visible part."
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"clip": {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16000), "scale": 1}} if full else {}
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full, **clip)
        path = Path(path)
        path.write_bytes(base64.b64decode(picture["data"]))
        return path

    def close(self) -> None:
        "Close the tab."
        self.browser.pages.pop(self._session, None)
        self.browser.call("Target.closeTarget", targetId=self._target)
