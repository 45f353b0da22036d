# SPDX-License-Identifier: Apache-2.0
"""browser.py: headless Chromium, steered through its DevTools protocol, and a web server for the pages under test.

    site = Site({"/": "docs/examples", "/node_modules/": "tests/e2e/js/node_modules/"})
    browser = Browser(directory)
    tab = browser.open(site.url("index.html?name=anna"))
    tab.wait("document.querySelector('#state').dataset.state === 'on'")
    tab.run("document.title")                    the value, as JSON carries it

Chromium is Debian's package; nothing else is needed: the protocol is JSON in a WebSocket, which ws.py speaks.
"""
import functools
import http.server
import json
import os
import shutil
import threading
import time

from harness import DEADLINE_S, HOST, ROOT, Process, TimeOut
from ws import TEXT, RawWs

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
         "--disable-backgrounding-occluded-windows", "--mute-audio", "--remote-debugging-port=0")


class Site:
    """Serves folders of the repository: {URL prefix: folder}; the longest prefix that fits counts."""

    def __init__(self, folders, port=0):
        folders = sorted(folders.items(), key=lambda pair: -len(pair[0]))

        class Pages(http.server.SimpleHTTPRequestHandler):
            def translate_path(self, path):
                path = os.path.normpath("/" + path.split("?")[0].split("#")[0].lstrip("/"))
                for prefix, folder in folders:
                    if path.startswith(prefix):
                        return os.path.join(ROOT, folder, path[len(prefix):])
                return os.devnull

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer((HOST, port), functools.partial(Pages, directory=ROOT))
        self.origin = "http://%s:%d" % (HOST, self.server.server_address[1])
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def url(self, path):
        return "%s/%s" % (self.origin, path)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(DEADLINE_S)


class Browser:
    def __init__(self, directory):
        binary = shutil.which("chromium")
        if not binary:
            raise FileNotFoundError("chromium is missing: `./dev test e2e/` installs Debian's package")
        self.process = Process([binary, *FLAGS, "--user-data-dir=" + os.path.join(directory, "chromium"), "about:blank"],
                               env={"HOME": directory, "ASAN_OPTIONS": ""})
        try:
            match = self.process.wait_line(r"DevTools listening on ws://127\.0\.0\.1:(\d+)(/\S+)")
            self.socket = RawWs(int(match.group(1)))
        except Exception:
            self.process.kill()
            raise
        self.socket.takes_text = True
        self.socket.upgrade(protocol=None, path=match.group(2))
        self.number, self.events = 0, []

    def ask(self, method, session=None, deadline_s=DEADLINE_S, **parameters):
        """One command and its result; events that come meanwhile are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        self.socket.frame(TEXT, json.dumps(message).encode())
        end = time.monotonic() + deadline_s
        while True:
            answer = self._read(end)
            if answer.get("id") != self.number:
                self.events.append(answer)
            elif "error" in answer:
                raise AssertionError("%s: %s" % (method, answer["error"]))
            else:
                return answer["result"]

    def _read(self, end):
        whole = b""
        while True:
            final, _, payload = self.socket.read_frame(end)
            whole += payload
            if final:
                return json.loads(whole)

    def open(self, url):
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session)
        tab.ask("Runtime.enable")
        tab.ask("Log.enable")
        tab.ask("Page.enable")
        tab.ask("Page.navigate", url=url)
        return tab

    def complaints(self):
        """What pages threw and did not catch."""
        return [event["params"]["exceptionDetails"] for event in self.events if event.get("method") == "Runtime.exceptionThrown"]

    def close(self):
        self.socket.close()
        self.process.child.terminate()
        try:
            self.process.wait()
        finally:
            self.process.kill()


class Tab:
    def __init__(self, browser, session):
        self.browser, self.session = browser, session

    def ask(self, method, **parameters):
        return self.browser.ask(method, session=self.session, **parameters)

    def run(self, expression):
        """The value of a JavaScript expression; a promise is waited for."""
        answer = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise AssertionError("%s: %s" % (expression, answer["exceptionDetails"]))
        return answer["result"].get("value")

    def wait(self, expression, deadline_s=DEADLINE_S):
        """Until the expression is true; its value. What it throws while the page is not there yet counts as false."""
        end = time.monotonic() + deadline_s
        while True:
            value = self.run("(() => { try { return %s } catch (error) { return null } })()" % expression)
            if value:
                return value
            if time.monotonic() > end:
                raise TimeOut("after %g s not true: %s\nthe page shows: %s" % (
                    deadline_s, expression, self.run("document.body && document.body.innerText")))
            time.sleep(0.02)

    def fill(self, selector, text):
        """Types into a field."""
        self.run("(() => { const field = document.querySelector(%s); field.focus(); field.select() })()" % json.dumps(selector))
        self.ask("Input.insertText", text=text)

    def press_enter(self):
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")

    def click(self, selector):
        """With the mouse, in the middle of the element: what covers it would be hit."""
        x, y = self.run("(() => { const box = document.querySelector(%s).getBoundingClientRect();"
                        " return [box.x + box.width / 2, box.y + box.height / 2] })()" % json.dumps(selector))
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
