"""The sample page in a real browser, driven by its own remote debugging."""

import asyncio
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import websockets

from sluice import wait_for

BROWSERS = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"]
SAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "samples" / "browser.html"


class Browser:
    """A headless Chromium and what its pages say."""

    def __init__(self, folder):
        program = next(filter(None, map(shutil.which, BROWSERS)), None)
        assert program, f"none of {', '.join(BROWSERS)} is installed; tests/packages.txt names the first"
        self._log = folder / "browser.log"
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [program, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
                 "--disable-dev-shm-usage", f"--user-data-dir={folder / 'profile'}", "about:blank"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        self.url = wait_for(lambda: re.search(r"ws://\S+", self._log.read_text(errors="replace")),
                            "the browser listens", 30).group(0)
        self._ids = itertools.count(1)

    async def open(self, page):
        """Opens a page and gives a function that evaluates an expression in it."""
        self._connection = await websockets.connect(self.url, max_size=None, ping_interval=None, close_timeout=0.1)
        target = await self._ask("Target.createTarget", {"url": page})
        session = await self._ask("Target.attachToTarget", {"targetId": target["targetId"], "flatten": True})

        async def evaluate(expression):
            answer = await self._ask("Runtime.evaluate", {"expression": expression, "returnByValue": True},
                                     session["sessionId"])
            return answer["result"].get("value")
        return evaluate

    async def _ask(self, method, parameters, session=None):
        number = next(self._ids)
        request = {"id": number, "method": method, "params": parameters}
        if session:
            request["sessionId"] = session
        await self._connection.send(json.dumps(request))
        while True:
            answer = json.loads(await self._connection.recv())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def stop(self):
        os.killpg(self._process.pid, signal.SIGKILL)  # its renderers and zygotes too
        self._process.wait()


@pytest.fixture
def browser(started, tmp_path):
    return started(Browser(tmp_path))


async def shows(evaluate, text):
    """Until the page's log holds the text; gives the whole."""
    for _ in range(1000):
        log = await evaluate("document.getElementById('log')?.textContent") or ""
        if text in log:
            return log
        await asyncio.sleep(0.01)
    raise AssertionError(f"{text!r} is not in {log!r}")


def page_for(folder, url, token):
    page = folder / "page.html"
    page.write_text(SAMPLE.read_text().replace("SLUICE_URL", url).replace("SLUICE_TOKEN", token))
    return page.as_uri()


def test_the_sample_page_talks_through_the_proxy(world, browser, run, tmp_path):
    _, _, token, url = world.guest()

    async def talk():
        evaluate = await browser.open(page_for(tmp_path, url, token))
        await shows(evaluate, "open, sub-protocol sluice.bearer")
        await evaluate("document.getElementById('form').requestSubmit()")
        await shows(evaluate, "< Hello from the browser")
        await asyncio.to_thread(world.revoke, token)
        await shows(evaluate, "closed 4001 access token revoked")
    run(talk(), 60)
    path, headers = world.backend.requests[-1]
    assert "Chrome" in headers["User-Agent"] and token not in str(headers) + path


def test_a_page_sees_why_it_is_refused_where_the_api_closes(world, browser, run, tmp_path):
    _, _, _, by_http = world.guest()
    _, _, _, by_close = world.guest(refuseBy="close")

    async def talk():
        evaluate = await browser.open(page_for(tmp_path, by_http, "A" * 43))
        await shows(evaluate, "closed 1006")
        evaluate = await browser.open(page_for(tmp_path, by_close, "A" * 43))
        await shows(evaluate, "closed 4001 900901 Invalid Credentials")
    run(talk(), 60)
