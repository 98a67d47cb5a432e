"""Debian's Chromium, driven through chromedriver over W3C WebDriver (<https://www.w3.org/TR/webdriver2/>): JSON over
HTTP, so the standard library is enough. DevTools commands go through the same connection.
"""

import base64
import json
import os
import re
import struct
import urllib.error
import urllib.request
import zlib

from support import Program, check, tool, wait_for

ANSWER_SECONDS = 60  # for one command; a busy machine draws a long list slowly
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the name that WebDriver gives to a reference to an element
KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "Tab": "\ue004", "ArrowDown": "\ue015", "ArrowUp": "\ue013"}


class Replaced(Exception):
    """The page has drawn its list again after the element was found."""


class Browser(Program):
    """A Chromium without a window of its own on any screen, and with a new profile in `directory`."""

    def __init__(self, directory):
        super().__init__([tool("chromedriver"), "--port=0"], directory)
        self.arguments = ["--headless=new", "--no-first-run", "--disable-dev-shm-usage", "--lang=en"]
        self.arguments += [f"--user-data-dir={directory}/profile", "--force-device-scale-factor=1"]
        if os.geteuid() == 0:
            self.arguments.append("--no-sandbox")  # Chromium refuses to run its sandbox as root

    def wait_until_ready(self):
        port = re.compile(r"started successfully on port (\d+)")
        self.wait_until("chromedriver names its port", lambda: port.search(self.log()))
        self.driver = f"http://127.0.0.1:{port.search(self.log())[1]}"
        options = {"binary": tool("chromium"), "args": self.arguments}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"}}
        answer = self.send("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{answer['sessionId']}"

    def __exit__(self, *_):
        if self.process.poll() is None and hasattr(self, "session"):
            try:
                self.send("DELETE", self.session)  # ends Chromium, which is chromedriver's child
            except OSError:
                pass  # it has crashed, and is gone already
        super().__exit__()

    def send(self, method, path, body=None):
        data = None if method in ("GET", "DELETE") else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.driver + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            fault = json.load(error)["value"]
            if fault["error"] == "stale element reference":
                raise Replaced(fault["message"]) from None
            check(False, f"the browser does {method} {path} {str(body)[:300]}", f"{fault['error']}: {fault['message']}")

    def post(self, path, **body):
        return self.send("POST", self.session + path, body)

    def read(self, path):
        return self.send("GET", self.session + path)

    # ---- documents and windows ----

    def open(self, url):
        self.post("/url", url=url)

    def url(self):
        return self.read("/url")

    def new_tab(self):
        """Opens a tab and goes there; returns the tab that was there before."""
        before = self.read("/window")
        self.post("/window", handle=self.post("/window/new", type="tab")["handle"])
        return before

    def close_tab(self, back_to):
        self.send("DELETE", self.session + "/window")
        self.post("/window", handle=back_to)

    def minimize(self):
        """Hides the document until `restore`."""
        self.post("/window/minimize")

    def restore(self):
        self.post("/window/rect", width=1280, height=900)

    def size(self, width, height):
        """Of the part of the window that shows the document, in CSS pixels."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def media(self, **features):
        """What media queries find, such as prefers_color_scheme="dark"; without one, as the machine has it."""
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.devtools("Emulation.setEmulatedMedia", features=features)

    def run(self, script, *arguments):
        """Runs the body of a function in the document, and returns what it returns."""
        return self.post("/execute/sync", script=script, args=list(arguments))

    def devtools(self, command, **parameters):
        return self.post("/goog/cdp/execute", cmd=command, params=parameters)

    def network(self):
        """The events of DevTools' domain Network since the last call, over all windows."""
        entries = self.post("/se/log", type="performance")
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        return [message for message in messages if message["method"].startswith("Network.")]

    def faults(self):
        """What the console has said since the last call: uncaught errors, and violations of the policy. Answers that
        are not 200, and connections that fail, are for the page to handle."""
        entries = self.post("/se/log", type="browser")
        return [entry["message"] for entry in entries if entry["source"] != "network"]

    # ---- what a person does ----

    def element(self, selector):
        return self.post("/element", using="css selector", value=selector)[ELEMENT]

    def click(self, selector):
        def clicked():
            try:
                self.post(f"/element/{self.element(selector)}/click")
                return True
            except Replaced:
                return False

        wait_for(f"{selector} stays long enough for a click", clicked)

    def write(self, selector, text):
        """Replaces the text of a field."""
        element = self.element(selector)
        self.post(f"/element/{element}/clear")
        if text:
            self.post(f"/element/{element}/value", text=text)

    def press(self, *keys):
        """Presses keys one after the other, wherever the focus is."""
        actions = []
        for key in keys:
            value = KEYS.get(key, key)
            actions += [{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]
        self.post("/actions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    # ---- what a person sees ----

    def text(self, selector):
        """The text of the first such element as it is shown; empty when there is none, or when it is hidden."""
        script = (
            "const it = document.querySelector(arguments[0]); return it && it.checkVisibility() ? it.innerText : ''"
        )
        return self.run(script, selector)

    def count(self, selector):
        return self.run("return document.querySelectorAll(arguments[0]).length", selector)

    def screenshot(self, path):
        """Saves what the window shows, and returns its width, height and number of different colours."""
        png = base64.b64decode(self.read("/screenshot"))
        path.write_bytes(png)
        return png_facts(png)


def png_facts(png):
    """Width and height, and how many different bytes the filtered pixels have: a blank picture has next to none."""
    width, height = struct.unpack(">II", png[16:24])
    data, place = b"", 8
    while place < len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        if kind == b"IDAT":
            data += png[place + 8 : place + 8 + length]
        place += length + 12
    return width, height, len(set(zlib.decompress(data)))
