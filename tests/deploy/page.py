"""The page at /inbox in a real browser: Debian's Chromium, driven by browser.py.

Usage: python3 tests/deploy/page.py PATH_OF_THE_BINARY

Each function of GROUPS is a group of claims, with a service of its own. Pictures of the page's states go into
target/page, to be looked at: fonts differ between machines, so they are only checked for not being blank. Time is
measured and printed, and bounded only by patience, since the machine may do something else too. About two minutes.
"""

import json
import math
import pathlib
import random
import shutil
import statistics
import subprocess
import tempfile
import threading
import time

from browser import Browser
from support import (
    ROOT,
    SECRET,
    Program,
    Service,
    answers,
    binary_argument,
    check,
    check_equal,
    free_port,
    message,
    sign,
    tool,
    wait_for,
)

TOKEN = "token-of-the-readers-0123"
PICTURES = ROOT / "target/page"


# ---- what the groups share ----


def address(service, fragment=""):
    return f"http://127.0.0.1:{service.port}/inbox{fragment}"


def visit(browser, service, fragment=""):
    """Opens the page anew and waits until it follows."""
    browser.open("about:blank")  # another fragment alone would not load the document
    browser.open(address(service, fragment))
    wait_for_state(browser, "Live")


def wait_for_state(browser, words):
    wait_for_text(browser, "#state", words)


def wait_for_text(browser, selector, words):
    claim = f"{selector} says {words!r}"
    wait_for(claim, lambda: words in browser.text(selector), lambda: browser.text(selector))


def wait_for_rows(browser, count):
    wait_for(f"the list has {count} rows", lambda: browser.count("#rows tr") == count, lambda: browser.text("#list"))


def rows(browser):
    """The texts in the list, from the top."""
    return browser.run("return [...document.querySelectorAll('#rows .open')].map((cell) => cell.innerText)")


def deliver(service, *texts):
    for text in texts:
        check_equal(service.post(message(f"of {text}"[:99], text)), 200, f"{text[:99]!r} is stored")


def deliver_from(sender, service, text):
    body = json.loads(message(f"of {text}", text)) | {"from": sender}
    check_equal(service.post(json.dumps(body).encode()), 200, f"a message of {sender} is stored")


def stays(claim, condition, seconds):
    """Holds that nothing changes for that long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        check(condition(), f"{claim} for {seconds} s")
        time.sleep(0.05)


def check_quiet(browser, origin):
    """The page has asked its own origin alone, has sent the token only to log in, and has thrown nothing."""
    check_equal(browser.faults(), [], "the console is empty")
    for event in browser.network():
        request = event["params"].get("request")
        if event["method"] != "Network.requestWillBeSent" or request["url"].startswith(
            ("about:", "chrome:", "blob:", "data:")
        ):
            continue
        check(request["url"].startswith(origin + "/"), "every request goes to the page's own origin", request["url"])
        if not request["url"].endswith("/inbox/login"):
            check(TOKEN not in json.dumps(request), "no request but the log-in carries the token", request)


# ---- the groups ----


def logging_in(binary, browser, directory):
    service = Service(binary, directory, READ_TOKEN=TOKEN)
    with service:
        browser.open(address(service, "#q=hello"))
        wait_for_text(browser, "#log-in", "needs the read token")
        check_equal(browser.text("#app"), "", "nothing is shown before the log-in")
        send_token(browser, "wrong")
        wait_for_text(browser, "#log-in", "That was not the read token")
        browser.open("about:blank")
        browser.open(address(service, "#q=hello"))
        send_token(browser, TOKEN)
        wait_for_state(browser, "Live")
        check_equal(browser.run("return query.value"), "hello", "the log-in keeps the search")
        browser.post("/refresh")
        wait_for_state(browser, "Live")
        tab = browser.new_tab()
        visit(browser, service)
        browser.close_tab(back_to=tab)
        seen = """return [document.cookie, {...localStorage}, {...sessionStorage}, location.href,
            document.documentElement.outerHTML]"""
        cookie, *places = browser.run(seen)
        check_equal(cookie, "", "no script can read the cookie")
        check(TOKEN not in json.dumps(places), "the token is in no storage, URL or element", places)
        browser.click("#log-out button")
        wait_for_text(browser, "#log-in", "needs the read token")
        check_equal(browser.text("#figures"), "", "nothing of the inbox is shown after the log-out")
        check_equal(browser.run("return fetch('/messages').then((it) => it.status)"), 401, "a log-out ends the session")
        send_token(browser, TOKEN)
        wait_for_state(browser, "Live")
        browser.run("location.hash = '#q=kept'")
        wait_for("the page searches", lambda: browser.run("return query.value") == "kept")
    with service:
        wait_for_text(browser, "#log-in", "The session has ended")
        picture(browser, "logged-out")
        send_token(browser, TOKEN)
        wait_for_state(browser, "Live")
        check_equal(browser.run("return query.value"), "kept", "a session that ends keeps the search")
        check_quiet(browser, f"http://127.0.0.1:{service.port}")


def send_token(browser, token):
    wait_for_text(browser, "#log-in", "Log in")
    browser.write("#token", token)
    browser.click("#log-in button")


def arriving(binary, browser, directory):
    with Service(binary, directory) as service:
        visit(browser, service)
        wait_for_text(browser, "#empty", "No messages yet")
        picture(browser, "empty")
        lines = browser.text("#empty-lines")
        check("development-secret" in lines, "an empty inbox says how to send the first message", lines)
        run_lines(binary, service, directory, lines.replace("development-secret", SECRET))
        wait_for("the first message is there", lambda: rows(browser) == ["Hello"], lambda: rows(browser))
        started = time.monotonic()
        deliver(service, "the next")
        wait_for_rows(browser, 2)
        print(f"page: a message is in the list {(time.monotonic() - started) * 1000:.0f} ms after it was sent")
        browser.click("#pause")
        wait_for_state(browser, "Paused")
        deliver(service, "while paused")
        stays("a paused list holds still", lambda: browser.count("#rows tr") == 2, 1)
        browser.click("#pause")
        wait_for_rows(browser, 3)
        browser.run("document.querySelector('#rows a').focus()")
        deliver(service, "while reading")
        wait_for_text(browser, "#more-new", "1 newer message")
        check_equal(browser.count("#rows tr"), 3, "nothing moves under a reader who has chosen a row")
        browser.click("#more-new")
        wait_for_rows(browser, 4)
        shown = ["while reading", "while paused", "the next", "Hello"]
        check_equal(rows(browser), shown, "the newest message is on top")
        check_quiet(browser, f"http://127.0.0.1:{service.port}")


def flood(binary, browser, directory):
    with Service(binary, directory) as service:
        rates = {"alone": [], "beside": []}
        for turn in range(3):  # in turns, since the machine may do something else too
            browser.open("about:blank")
            rates["alone"].append(ingest(service, f"alone {turn}", 2000))
            visit(browser, service)
            rates["beside"].append(ingest(service, f"beside {turn}", 2000))
        alone, beside = (statistics.median(found) for found in rates.values())
        print(f"page: {alone:.0f} messages/s without the page, {beside:.0f} with it open, {beside / alone:.2f} of that")
        check(beside > alone / 4, "a page that is open leaves most of the machine to the service", rates)

        visit(browser, service)
        browser.run("""window.tasks = [];
            new PerformanceObserver((list) => tasks.push(...list.getEntries().map((task) => task.duration)))
                .observe({ type: "longtask" })""")
        heap_before = heap_bytes(browser)
        sending = threading.Thread(target=ingest, args=(service, "flood", 5000, 5))
        sending.start()
        rows_most = 0
        while sending.is_alive():
            rows_most = max(rows_most, browser.count("#rows tr"))
        sending.join()
        wait_for_text(browser, "#figures", "17,000 messages")
        wait_for(
            "the list shows the end of the flood",
            lambda: browser.run("return document.querySelector('#rows tr').dataset.key") == "17000",
            lambda: rows(browser)[:3],
        )
        picture(browser, "flood")
        tasks = browser.run("return tasks")
        print(
            f"page: 5,000 messages in 5 s: longest task {max(tasks, default=0):.0f} ms, at most {rows_most} rows,",
            end=" ",
        )
        print(f"heap {heap_before / 1e6:.1f} MB before, {heap_bytes(browser) / 1e6:.1f} MB after")
        check(max(tasks, default=0) < 1000, "no task keeps the page from answering a key", tasks)
        check(rows_most <= 200, "the document never has more than 200 rows", rows_most)
        check(heap_bytes(browser) < 64e6, "the heap stays under 64 MB", heap_bytes(browser))
        for _ in range(5):
            browser.run("scrollTo(0, document.body.scrollHeight)")
            count = browser.count("#rows tr")
            last = "return document.querySelector('#rows').lastElementChild.dataset.key"
            before = browser.run(last)
            browser.run("document.getElementById('older').click()")
            wait_for("Older shows older messages", lambda: browser.run(last) != before, lambda: before)
        check_equal(browser.count("#rows tr"), 200, f"after {count} rows, those on top make room for older ones")
        picture(browser, "200-rows")
        check_quiet(browser, f"http://127.0.0.1:{service.port}")


def ingest(service, name, count, seconds=0):
    """Delivers so many messages over 8 connections, spread over so many seconds; returns how many each second took."""
    bodies = [message(f"{name} {index}", f"{name} {index}") for index in range(count)]
    signed = [(body, sign(body)) for body in bodies]
    started = time.monotonic()

    def send(part):
        connection = service.connection()
        for index, (body, signature) in part:
            time.sleep(max(0, started + seconds * index / count - time.monotonic()))  # its place in those seconds
            connection.request("POST", "/webhook", body, {"X-Signature": signature})
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        connection.close()

    statuses = []
    parts = [list(enumerate(signed))[lane::8] for lane in range(8)]
    lanes = [threading.Thread(target=send, args=(part,)) for part in parts]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    check_equal(statuses, [200] * count, f"every message of {name} is stored")
    return count / (time.monotonic() - started)


def heap_bytes(browser):
    browser.devtools("HeapProfiler.collectGarbage")
    return browser.devtools("Runtime.getHeapUsage")["usedSize"]


HOSTILE = [
    "<img src=x onerror=alert(1)><script>alert(2)</script>",
    "safe \u202egpj.exe",
    "a\u0000b\u001bc",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "family \U0001f469\u200d\U0001f469\u200d\U0001f467",
    "javascript:alert(3) {{7*7}} ${8*8} &amp;",
    "tall e" + "\u0301" * 200,
]


def with_marks(text):
    return text.replace("\u202e", "[RLO]").replace("\u0000", "[U+0000]").replace("\u001b", "[U+001B]")


def hostile_texts(binary, browser, directory):
    with Service(binary, directory) as service:
        deliver(service, *HOSTILE)
        visit(browser, service)
        shown = [with_marks(text) for text in HOSTILE]
        check_equal(rows(browser), shown[::-1], "texts are shown as characters, and hidden ones as marks")
        check_equal(
            browser.count("#rows img, #rows script, #rows a[href^=javascript]"), 0, "no text becomes an element"
        )
        heights = browser.run("return [...document.querySelectorAll('#rows tr')].map((row) => row.offsetHeight)")
        check(len(set(heights)) == 1, "no text makes its row higher", heights)
        for seq, text in enumerate(shown, 1):
            open_message(browser, seq, text)
        browser.run("location.hash = '#'")
        wait_for("the message is closed", lambda: not browser.text("#detail"))
        picture(browser, "hostile")
        check_quiet(browser, f"http://127.0.0.1:{service.port}")
        check_policy(browser)


def check_policy(browser):
    """What would happen if a text became markup or a script after all."""
    for claim, attempt in {
        "markup cannot be made of a string": "document.body.innerHTML = '<b>'",
        "a script cannot be made of a string": "document.createElement('script').textContent = '1'",
        "no script is loaded from elsewhere": "document.createElement('script').src = '//attacker.example/'",
    }.items():
        thrown = browser.run(f"try {{ {attempt}; return 'done' }} catch (error) {{ return error.name }}")
        check_equal(thrown, "TypeError", claim)
    elsewhere = """return new Promise((done) => {
        addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
        fetch("http://127.0.0.1:1/").then(() => done("sent"), () => {});
    })"""
    check_equal(browser.run(elsewhere), "connect-src", "nothing can be sent elsewhere")
    reported = []
    wait_for("the console reports each violation", lambda: len(reported.extend(browser.faults()) or reported) >= 4)
    browser.network()


def searching(binary, browser, directory):
    with Service(binary, directory) as service:
        deliver(service, "first apple", "second pear", "third apple")
        deliver_from("+14155550123", service, "apple too")
        visit(browser, service)
        for query, found in {  # each finds other messages than the one before, so that its own rows are waited for
            "apple": ["apple too", "third apple", "first apple"],
            "apple from:+919876543210": ["third apple", "first apple"],
            "type:text source:native pear": ["second pear"],
            "since:2030-01-01T00:00:00Z": [],
            "third": ["third apple"],
            "note:pear": [],
            "": ["apple too", "third apple", "second pear", "first apple"],
        }.items():
            search(browser, query)
            wait_for(f"{query!r} finds {found}", lambda: rows(browser) == found, lambda: rows(browser))
            check_equal(browser.text("#empty h2") != "", not found, "a search that finds nothing says so")
        pause_while_it_loads(browser, "#q=pear")
        wait_for("Pause does not end a search", lambda: rows(browser) == ["second pear"], lambda: rows(browser))
        wait_for_state(browser, "Paused")
        browser.click("#pause")
        search(browser, "")
        wait_for_rows(browser, 4)
        search(browser, "since:yesterday")
        wait_for_text(browser, "#query-fault", "since")
        check_equal(browser.run("return query.getAttribute('aria-invalid')"), "true", "the fault is at the field")
        picture(browser, "fault")
        browser.post("/back")
        wait_for("back takes the fault away", lambda: not browser.text("#query-fault"))
        check_equal(len(rows(browser)), 4, "a search that is refused leaves the list as it was")
        search(browser, "pear")
        wait_for_rows(browser, 1)
        browser.post("/back")
        wait_for_rows(browser, 4)
        browser.post("/forward")
        wait_for_rows(browser, 1)
        visit(browser, service, "#q=apple&seq=2")
        wait_for_text(browser, "#detail .text", "second pear")
        check_equal(len(rows(browser)), 3, "a bookmark holds the search beside the message")
        browser.click("#detail .facts a")
        found = ["third apple", "second pear", "first apple"]
        wait_for(f"the sender's messages are {found}", lambda: rows(browser) == found, lambda: rows(browser))
        check_equal(browser.run("return query.value"), "from:+919876543210", "the message leads to all of its sender")
        check_quiet(browser, f"http://127.0.0.1:{service.port}")


def pause_while_it_loads(browser, fragment):
    """Presses Pause when the page has asked for the list, and before the answer can be there."""
    browser.run(
        """addEventListener("hashchange", () => document.getElementById("pause").click(), { once: true });
            location.hash = arguments[0]""",
        fragment,
    )


def search(browser, query):
    browser.write("#query", query)
    browser.click("#search button")


def refusals_and_statuses(binary, browser, directory):
    with Service(binary, directory, **META) as service:
        deliver(service, "stored")
        forged = message("forged", "not stored")
        status = service.request("POST", "/webhook", forged, {"X-Signature": sign(forged, "another secret")})[0]
        check_equal(status, 401, "a wrong signature is refused")
        deliver_from_meta(service, statuses=[status_of("sent", 10), status_of("delivered", 5)])
        visit(browser, service)
        wait_for_text(browser, "#views", "Refused 1")
        browser.click("#views a[href*=refused]")
        wait_for(
            "the list of refusals says what was answered",
            lambda: ["401" in row for row in rows(browser)] == [True],
            lambda: rows(browser),
        )
        check_equal(browser.text("#search"), "", "only messages can be searched")
        browser.click("#rows a")
        wait_for_text(browser, "#detail", "the signature does not match")
        browser.run("document.querySelector('#detail details').open = true")
        check("not stored" in browser.text("#detail pre"), "a refusal shows the body", browser.text("#detail"))
        picture(browser, "refused")
        check_names(browser)
        browser.click("#views a[href*=statuses]")
        wait_for("the newest status is on top", lambda: rows(browser) == ["delivered", "sent"], lambda: rows(browser))
        browser.click("#rows a")
        wait_for_text(browser, "#detail", "wamid.out")
        check("delivered" in browser.text("#detail .facts"), "a status shows what became of its message")
        picture(browser, "statuses")
        deliver_from_meta(service, statuses=[status_of("read", 0)])
        wait_for("a new status appears by itself", lambda: rows(browser)[0] == "read", lambda: rows(browser))
        browser.click("#views a")
        wait_for("the messages are back", lambda: rows(browser) == ["stored"], lambda: rows(browser))
        check_quiet(browser, f"http://127.0.0.1:{service.port}")


META = {"META_APP_SECRET": "app-secret", "META_VERIFY_TOKEN": "verify-token"}


def deliver_from_meta(service, **value):
    """Delivers it as Meta does, and returns the body."""
    value |= {"messaging_product": "whatsapp"}
    value |= {"metadata": {"display_phone_number": "14155550100", "phone_number_id": "2"}}
    entry = {"id": "1", "changes": [{"field": "messages", "value": value}]}
    body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}, indent=1)
    signature = f"sha256={sign(body.encode(), META['META_APP_SECRET'])}"
    status = service.request("POST", "/webhook/meta", body.encode(), {"X-Hub-Signature-256": signature})[0]
    check_equal(status, 200, "a delivery of Meta is stored")
    return body


def status_of(word, seconds_ago):
    ts = str(int(time.time()) - seconds_ago)
    return {"id": "wamid.out", "status": word, "timestamp": ts, "recipient_id": "12025550143"}


def whatsapp_message(message_id, text):
    return {"from": "12025550143", "id": message_id, "timestamp": "1790416800", "type": "text", "text": {"body": text}}


def raw_payloads(binary, browser, directory):
    with Service(binary, directory, **META) as service:
        deliver(service, "it's native")
        contacts = [{"profile": {"name": "Ada Example"}, "wa_id": "12025550143"}]
        body = deliver_from_meta(service, contacts=contacts, messages=[whatsapp_message("wamid.in", "it's WhatsApp")])
        deliver_from_meta(service, messages=[whatsapp_message("wamid.large", "large " * 60_000)])
        visit(browser, service)
        origin = f"http://127.0.0.1:{service.port}"
        browser.devtools("Browser.grantPermissions", origin=origin, permissions=["clipboardReadWrite"])
        open_message(browser, 2, "Delivery as it came")
        check("X-Hub-Signature-256: sha256=" in browser.text("#detail"), "it shows the signature that was right")
        browser.run("document.querySelectorAll('#detail details').forEach((it) => (it.open = true))")
        indented, whole = browser.run(
            "return [...document.querySelectorAll('#detail pre')].map((it) => it.textContent)"
        )
        check_equal(json.loads(indented)["id"], "wamid.in", "the message is shown indented")
        check_equal(whole, body, "the delivery is shown as it came")
        picture(browser, "raw")
        check_names(browser)
        check_equal(copied(browser, "details:last-of-type button"), body, "Copy copies the delivery as it came")
        run_lines(binary, service, directory, copied(browser, "details:last-of-type button:nth-of-type(2)"))
        open_message(browser, 1, "it's native")
        run_lines(binary, service, directory, copied(browser, "#detail-body > .buttons button"))
        open_message(browser, 3, "too large to be shown")
        check_equal(browser.count("#detail a[download]"), 1, "a large delivery can be downloaded")
        total = json.loads(service.request("GET", "/messages")[2])["total"]
        check_equal(total, 3, "what is delivered again is not stored again")
        check_quiet(browser, origin)


def open_message(browser, seq, words):
    browser.run("location.hash = `#seq=${arguments[0]}`", seq)
    wait_for_text(browser, "#detail", words)


def copied(browser, button):
    """What the clipboard has after a click on that button."""
    browser.run("return navigator.clipboard.writeText('')")
    browser.run("document.querySelector(arguments[0]).click()", button)
    clipboard = lambda: browser.run("return navigator.clipboard.readText()")
    wait_for(f"{button} copies", clipboard)
    return clipboard()


def run_lines(binary, service, directory, lines):
    """Runs lines of a shell as who copies them would: with the program in the PATH, and its settings."""
    tools = pathlib.Path(directory) / "bin"
    tools.mkdir(exist_ok=True)
    if not (tools / "webhook-inbox").exists():
        (tools / "webhook-inbox").symlink_to(binary)
    environment = service.environment | {"PATH": f"{tools}:/usr/bin:/bin"}
    ended = subprocess.run(["sh", "-c", lines], cwd=directory, env=environment, capture_output=True, timeout=60)
    check_equal(ended.stdout, b'{"status":"ok"}', f"these lines deliver the message:\n{lines}\n{ended.stderr}")


def overview(binary, browser, directory):
    with Service(binary, directory, **META) as service:
        deliver(service, "years ago")
        now = {"ts": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "from": "+14155550123"}
        recent = json.loads(message("recent", "just now")) | now
        check_equal(service.post(json.dumps(recent).encode()), 200, "it is stored")
        visit(browser, service)
        wait_for_text(browser, "#figures", "2 messages · native")
        check("meta not yet" in browser.text("#figures"), "it says which sender has not delivered yet")
        check_equal(browser.count("#plot a"), 48, "there is a bar for each hour")
        check_names(browser)
        browser.click("#overview summary")
        numbers = "return [...document.querySelectorAll('#history .number')].map((it) => Number(it.textContent))"
        counts = browser.run(numbers)
        check_equal((len(counts), sum(counts)), (48, 1), "the table has the same figures")
        bar = "[...document.querySelectorAll('#plot a')].find((it) => it.textContent.endsWith(': 1'))"
        browser.run(f"{bar}.dispatchEvent(new MouseEvent('click', {{ bubbles: true }}))")
        wait_for("a bar leads to its messages", lambda: rows(browser) == ["just now"], lambda: rows(browser))
        check("since:" in browser.run("return query.value"), "a bar is a search", browser.run("return query.value"))
        browser.click("#senders a[href*='919876543210']")
        wait_for("a sender leads to its messages", lambda: rows(browser) == ["years ago"], lambda: rows(browser))
        check_equal(browser.run("return query.value"), "from:+919876543210", "a sender is a search")
        browser.run("document.querySelector('#senders a[href*=\"14155550123\"]').focus()")
        deliver_from("+14155550123", service, "one more")
        wait_for_text(browser, "#figures", "3 messages")
        focused = browser.run("return document.activeElement.hash")
        check_equal(focused, "#q=from%3A%2B14155550123", "new figures leave the focus on the sender, who is the first now")
        search(browser, "")
        wait_for_rows(browser, 3)
        browser.devtools("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(directory))
        browser.click("#download")
        file = pathlib.Path(directory) / "messages.jsonl"
        wait_for("the download is whole", lambda: file.exists() and file.read_text().count("\n") == 3)
        texts = [json.loads(line)["text"] for line in file.read_text().splitlines()]
        check_equal(texts, ["years ago", "just now", "one more"], "the download has what the search finds, a message a line")
        check_quiet(browser, f"http://127.0.0.1:{service.port}")


def outages(binary, browser, directory):
    service = Service(binary, directory)
    backup = pathlib.Path(directory) / "backup.db"
    with service:
        deliver(service, "m1")
        deliver_from("+14155550123", service, "m2")
        visit(browser, service)
        wait_for_rows(browser, 2)
        command(binary, service, "backup", backup)
        deliver(service, "m3")
        wait_for_rows(browser, 3)
    started = time.monotonic()
    wait_for_state(browser, "Offline, next try in")
    print(f"page: it says that the service is gone {time.monotonic() - started:.1f} s after that")
    picture(browser, "offline")
    with service:
        deliver(service, "m4", "m5")
        wait_for_state(browser, "Live")
        wait_for(
            "nothing is missing or twice",
            lambda: rows(browser) == ["m5", "m4", "m3", "m2", "m1"],
            lambda: rows(browser),
        )
        command(binary, service, "erase", "--from", "+14155550123")
        deliver(service, "m6")  # otherwise the erasure is seen at the end of a wait, 25 s
        wait_for(
            "an erased message goes", lambda: rows(browser) == ["m6", "m5", "m4", "m3", "m1"], lambda: rows(browser)
        )
    wait_for_state(browser, "Offline")
    for suffix in ("-wal", "-shm"):
        pathlib.Path(f"{service.database}{suffix}").unlink(missing_ok=True)
    shutil.copy(backup, service.database)
    with service:
        wait_for("the list is the backup's", lambda: rows(browser) == ["m2", "m1"], lambda: rows(browser))
        wait_for_state(browser, "Live")
        deliver(service, "m7")
        wait_for_rows(browser, 3)
        check_quiet(browser, f"http://127.0.0.1:{service.port}")


def command(binary, service, *words):
    ended = subprocess.run([binary, *map(str, words)], env=service.environment, capture_output=True, timeout=60)
    check_equal(ended.returncode, 0, f"{' '.join(map(str, words))} succeeds: {ended.stderr}")


def hidden(binary, browser, directory):
    with Service(binary, directory) as service:
        deliver(service, "before")
        visit(browser, service)
        wait_for_rows(browser, 1)
        wait_for("the page waits", lambda: waiting(service) == 1, lambda: waiting(service))
        browser.minimize()
        wait_for_state(browser, "Paused while hidden")
        wait_for("the wait is given up", lambda: waiting(service) == 0, lambda: waiting(service))
        browser.network()
        deliver(service, "meanwhile")
        # Longer than a wait at /arrivals lasts, and than figures stay as they are.
        stays("a hidden page asks nothing", lambda: requests(browser) == [], 31)
        browser.restore()
        wait_for_rows(browser, 2)
        check_quiet(browser, f"http://127.0.0.1:{service.port}")


def requests(browser):
    """What the page has asked since the last call."""
    sent = (event["params"]["request"] for event in browser.network() if event["method"] == "Network.requestWillBeSent")
    return [request["url"] for request in sent]


def waiting(service):
    metrics = service.request("GET", "/metrics")[2].decode()
    return int(next(line for line in metrics.splitlines() if line.startswith("inbox_waiting_requests ")).split()[1])


def many_pages(binary, browser, directory):
    with Service(binary, directory) as service:
        held = []
        for _ in range(64):
            connection = service.connection()
            connection.request("GET", "/arrivals?after=now&wait=30")
            held.append(connection)
        wait_for("64 clients wait", lambda: waiting(service) == 64, lambda: waiting(service))
        visit(browser, service)
        wait_for_text(browser, "#notice", "MAX_WAITERS")
        requests(browser)
        since = []
        stays("a page that cannot wait asks now and then", lambda: len(since.extend(requests(browser)) or since) < 10, 2)
        deliver(service, "seen all the same")
        wait_for_rows(browser, 1)
        for connection in held:
            connection.close()
        check_quiet(browser, f"http://127.0.0.1:{service.port}")


def keyboard(binary, browser, directory):
    with Service(binary, directory) as service:
        deliver(service, *(f"m{index}" for index in range(5)))
        visit(browser, service)
        focused = "const it = document.activeElement; return it.id || it.innerText"
        browser.press("j", "j")
        check_equal(browser.run(focused), "m3", "j goes down")
        browser.press("k", "ArrowDown", "ArrowDown", "ArrowUp")
        check_equal(browser.run(focused), "m3", "k goes up, and the arrows move too")
        browser.press("Enter")
        wait_for_text(browser, "#detail .text", "m3")
        check_equal(browser.run(focused), "detail-title", "what is opened gets the focus")
        browser.press("Escape")
        wait_for("the message is closed", lambda: not browser.text("#detail"))
        check_equal(browser.run(focused), "m3", "the focus goes back to the row")
        browser.press("p")
        wait_for_state(browser, "Paused")
        browser.press("p", "/")
        check_equal(browser.run(focused), "query", "/ goes to the search")
        browser.press("j", "p")
        check_equal(browser.run("return query.value"), "jp", "letters that are typed are no commands")
        wait_for_state(browser, "Live")
        browser.write("#query", "")
        browser.run("document.activeElement.blur()")
        browser.press("?")
        wait_for_text(browser, "#help", "go to the search field")
        picture(browser, "keys")
        browser.click("#keys-on")
        browser.press("Escape")
        wait_for("Escape closes the keys", lambda: not browser.text("#help"))
        browser.press("p", "?")
        check_equal((browser.text("#state"), browser.text("#help")), ("Live", ""), "single keys can be turned off")
        check_tab_order(browser)
        browser.run("location.hash = '#seq=1'")
        wait_for_text(browser, "#detail .text", "m0")
        check_names(browser)
        for scheme in ("light", "dark"):
            browser.media(prefers_color_scheme=scheme)
            check_contrast(browser, scheme)
        browser.media()
        check_quiet(browser, f"http://127.0.0.1:{service.port}")


def check_tab_order(browser):
    """Tab goes through everything that can be used, as one reads."""
    places = tab_places(browser)
    check(len(places) > 10, "Tab reaches what can be used", places)
    places = [found for found in places if found[1] >= 0]  # the link over all parts is out of sight
    order = [found[1:] for found in places]
    check_equal(order, sorted(order), f"Tab goes in the order of reading: {[found[0] for found in places]}")


def tab_places(browser):
    """What Tab reaches and where that is."""
    wait_for("figures are drawn", lambda: browser.count("#plot a"))
    browser.run("document.activeElement.blur(); scrollTo(0, 0)")
    place = """const it = document.activeElement, box = it.getBoundingClientRect();
        if (it === document.body) return null;
        const part = ["header", "main", "aside"].findIndex((name) => it.closest(name));
        return [it.id || it.innerText, part, Math.round(box.top / 24), box.left]"""
    places = []
    while True:
        browser.press("Tab")
        found = browser.run(place)
        if found is None or found in places:
            return places
        places.append(found)


def check_names(browser):
    tree = browser.devtools("Accessibility.getFullAXTree")["nodes"]
    roles = {
        "button",
        "link",
        "searchbox",
        "textbox",
        "checkbox",
        "combobox",
        "image",
        "img",
        "table",
        "dialog",
        "form",
        "search",
    }
    known = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]]
    looked_at = [(role, name) for role, name in known if role in roles]
    check(len(looked_at) > 5, "the tree of a screen reader has the page's elements", known)
    nameless = [role for role, name in looked_at if not name.strip() and role not in ("form", "search")]
    check_equal(nameless, [], "everything that can be used has a name")


# The contrast of each text, and of each border of a control, with what is behind it (WCAG 2.2, 1.4.3 and 1.4.11).
CONTRASTS = """
    const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
    const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
    const contrast = (a, b) => {
        const [x, y] = [luminance(channels(a)), luminance(channels(b))];
        return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
    };
    const behind = (element) => {
        for (let it = element; it; it = it.parentElement) {
            const colour = getComputedStyle(it).backgroundColor;
            if (channels(colour)[3] !== 0) return colour;
        }
        return "rgb(255, 255, 255)";
    };
    const found = [];
    for (const element of document.body.querySelectorAll("*")) {
        if (!element.checkVisibility() || element.closest(".unseen")) continue;
        const style = getComputedStyle(element);
        const words = element.textContent.slice(0, 20);
        const name = [element.tagName, element.id, element.getAttribute("class"), words].join(" ");
        if ([...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
            found.push([name, contrast(style.color, behind(element)), 4.5]);
        if (/^(BUTTON|INPUT|SELECT)$/.test(element.tagName) && element.type !== "checkbox") {
            const inside = contrast(style.backgroundColor, behind(element.parentElement));
            found.push([name, Math.max(inside, contrast(style.borderTopColor, behind(element.parentElement))), 3]);
        }
        if (element.matches(".bar-fill"))
            found.push([name, contrast(style.fill, behind(element.closest("svg").parentElement)), 3]);
    }
    return found;
"""


def check_contrast(browser, scheme):
    found = browser.run(CONTRASTS)
    check(len(found) > 20, "there is something to look at", found)
    faint = [entry for entry in found if entry[1] < entry[2]]
    check_equal(faint, [], f"the {scheme} colours can be told apart")


class Nginx(Program):
    """nginx with its defaults in front of everything."""

    def __init__(self, directory, service):
        self.port = free_port()
        places = "".join(
            f"{name}_temp_path {directory}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        configuration = pathlib.Path(directory) / "nginx.conf"
        configuration.write_text(
            f"daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr; events {{}}\n"
            f"http {{ access_log off; {places} server {{ listen 127.0.0.1:{self.port};\n"
            f"location / {{ proxy_pass http://127.0.0.1:{service.port}; }} }} }}\n"
        )
        super().__init__([tool("nginx"), "-e", "stderr", "-p", directory, "-c", configuration], directory)

    def wait_until_ready(self):
        self.wait_until("nginx listens", lambda: answers(self.port))


def behind_nginx(binary, browser, directory):
    with Service(binary, directory) as service, Nginx(directory, service) as proxy:
        visit(browser, proxy)
        deliver(service, "through nginx")
        wait_for_rows(browser, 1)
        check_quiet(browser, f"http://127.0.0.1:{proxy.port}")


# ---- pictures ----


TEXTS = [
    "Hello, is my order on its way?",
    "Thank you, it has arrived!",
    "Can I still change the delivery address? I have moved to another part of the town, and nobody is at the old one.",
    "Wann kommt meine Bestellung an?",
    "\u0646\u0639\u0645\u060c \u0634\u0643\u0631\u0627\u064b \u062c\u0632\u064a\u0644\u0627\u064b",
    "\u0928\u092e\u0938\u094d\u0924\u0947, invoice please",
    "\u00bfTienen la talla 42?",
    "\U0001f44d\U0001f3fd",
]
NAMES = ["Ana Ejemplo", "Ada Example", "Max Beispiel", "Exempla Gratia"]


def appearance(binary, browser, directory):
    """The pictures inbox-light and inbox-dark are in docs/ too, for README.md: copy them when the page has changed."""
    with Service(binary, directory, **META) as service:
        seed(service)
        visit(browser, service)
        wait_for_text(browser, "#figures", "meta")
        browser.devtools("Emulation.setScrollbarsHidden", hidden=True)
        for scheme in ("light", "dark"):
            browser.media(prefers_color_scheme=scheme)
            picture(browser, f"inbox-{scheme}", 1280, 640)
            check_contrast(browser, scheme)
        browser.devtools("Emulation.setScrollbarsHidden", hidden=False)
        open_message(browser, 1, "Delivery as it came")
        picture(browser, "message-dark")
        browser.media(forced_colors="active")
        picture(browser, "forced-colours")
        browser.media()
        deliver(service, "x" * 4096)
        search(browser, "xxx")
        wait_for_rows(browser, 1)
        browser.click("#rows a")
        wait_for_text(browser, "#detail .text", "xxx")
        picture(browser, "long-text")
        fits(browser, "a text without a space")
        for name, width, height, size in [("phone", 390, 844, "100%"), ("narrow-large", 320, 800, "200%")]:
            visit(browser, service)
            browser.run("document.documentElement.style.fontSize = arguments[0]", size)
            picture(browser, name, width, height)
            fits(browser, name)
            browser.click("#rows a")
            wait_for_text(browser, "#detail .text", "xxx")
            picture(browser, f"{name}-message", width, height)
            fits(browser, f"a message on {name}")
        check_quiet(browser, f"http://127.0.0.1:{service.port}")


def fits(browser, name):
    widths = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
    check(widths[0] <= widths[1], f"{name} needs no sideways scrolling", widths)


def seed(service):
    """Invented messages of two days: fewer by night, and the newest just now."""
    chance = random.Random(48)
    now = int(time.time())
    ages = sorted((chance.uniform(0, 48 * 3600) for _ in range(400)), reverse=True)
    ages = [age for age in ages if chance.random() < 0.15 + 0.85 * (math.sin((now - age) / 86400 * 2 * math.pi) > -0.3)]
    for index, age in enumerate([*ages, 40, 21, 3]):
        sender = min(int(chance.expovariate(0.35)), 11)
        ts, text = now - int(age), chance.choice(TEXTS)
        if sender < len(NAMES):
            number = f"120255501{40 + sender}"
            contacts = [{"profile": {"name": NAMES[sender]}, "wa_id": number}]
            item = whatsapp_message(f"wamid.{index}", text) | {"from": number, "timestamp": str(ts)}
            deliver_from_meta(service, contacts=contacts, messages=[item])
        else:
            fields = {"from": f"+9198765432{sender + 10}", "ts": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ts))}
            body = json.dumps(json.loads(message(f"message {index}", text)) | fields)
            check_equal(service.post(body.encode()), 200, "an invented message is stored")


def picture(browser, name, width=1280, height=800):
    browser.size(width, height)
    found = browser.screenshot(PICTURES / f"{name}.png")
    check_equal(found[:2], (width, height), f"the picture {name} has the size of the window")
    check(found[2] > 16, f"the picture {name} shows something", found)


GROUPS = [logging_in, arriving, flood, hostile_texts, searching, refusals_and_statuses, raw_payloads, overview]
GROUPS += [appearance, outages, hidden, many_pages, keyboard, behind_nginx]


def main(binary):
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile, Browser(profile) as browser:
        for group in GROUPS:
            started = time.monotonic()
            with tempfile.TemporaryDirectory() as directory:
                browser.open("about:blank")
                browser.size(1280, 800)
                browser.faults(), browser.network()  # what the page of the group before has caused
                group(binary, browser, directory)
            print(
                f"page: {group.__name__.replace('_', ' ')}: as it should be, in {time.monotonic() - started:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main(binary_argument(__doc__))
