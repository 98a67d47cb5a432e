"""Litestream beside the service, with deploy/litestream.yml: is every acknowledged message in the replica?

Usage: python3 tests/deploy/litestream.py PATH_OF_THE_BINARY

Senders load the service while Litestream replicates its database to a directory. The service is killed under load and
started again at once, as a supervisor does, and loaded on. Service and Litestream end in order; then the replica is
restored elsewhere, has to be whole, and a new service on it has to list every message that was acknowledged. About 20
seconds. With synchronous=FULL 10 of 12 replicas were malformed after this: src/store/sqlite/wal.rs says why.
"""

import json
import pathlib
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time

from support import DEPLOY, STOP_SECONDS, Program, Service, binary_argument, check, check_equal, message, tool

LOAD_SECONDS = 5  # before the kill, and as long after it
SENDERS = 8
RESTORE_SECONDS = 60


class Litestream(Program):
    def __init__(self, directory, database):
        self.replica = pathlib.Path(directory) / "replica"
        config = (DEPLOY / "litestream.yml").read_text()
        for example, here in (
            ("path: /var/lib/webhook-inbox/inbox.db", f"path: {database}"),
            ("path: /var/backups/webhook-inbox", f"path: {self.replica}"),
        ):
            check(example in config, f"deploy/litestream.yml has {example!r}", config)
            config = config.replace(example, here)
        self.config = pathlib.Path(directory) / "litestream.yml"
        self.config.write_text(config)
        super().__init__([tool("litestream"), "replicate", "-config", self.config], directory)

    def wait_until_ready(self):
        self.wait_until("Litestream begins to replicate", lambda: any(self.replica.glob("**/*.ltx")))


def send(service, prefix, acknowledged, until):
    """Messages one after the other until the time is over or the service is gone; `acknowledged` gets those that were."""
    number = 0
    while time.monotonic() < until:
        message_id = f"{prefix}-{number}"
        try:
            status = service.post(message(message_id, "x" * 200))
        except OSError:
            return  # killed
        except Exception as error:  # http.client has no common ancestor for an answer that breaks off
            check("HTTP" in str(type(error).__mro__), "a sender fails only with the service", error)
            return
        check(status in (200, 503), "a delivery is stored or asked for again", status)
        if status == 200:
            acknowledged.append(message_id)
        number += 1


def load(service, prefix, acknowledged):
    """Starts the senders; they end with the service."""
    until = time.monotonic() + LOAD_SECONDS + 60
    arguments = [(service, f"{prefix}-{sender}", acknowledged, until) for sender in range(SENDERS)]
    senders = [threading.Thread(target=send, args=of_one) for of_one in arguments]
    for sender in senders:
        sender.start()
    time.sleep(LOAD_SECONDS)
    return senders


def stored(database):
    """The ids in a database, read by another SQLite, and whether it is whole."""
    with sqlite3.connect(database) as connection:
        check_equal(connection.execute("PRAGMA integrity_check").fetchall(), [("ok",)], "the restored database is whole")
        return {row[0] for row in connection.execute("SELECT message_id FROM messages")}


def main(binary):
    with tempfile.TemporaryDirectory() as directory:
        acknowledged = []
        with Service(binary, directory) as service, Litestream(directory, service.database) as litestream:
            senders = load(service, "before", acknowledged)
            service.process.kill()  # in the middle of the load
            service.process.wait()
            with Service(binary, directory) as again:
                senders += load(again, "after", acknowledged)
                check_equal(again.stop(), 0, "it ends in order, under load")
            for sender in senders:
                sender.join(timeout=30)
            # SIGTERM: Litestream copies what is left, then ends.
            litestream.process.terminate()
            litestream.process.wait(timeout=STOP_SECONDS + 30)
            check("level=ERROR" not in litestream.log(), "Litestream reports no error", litestream.log()[-4000:])
            config = litestream.config
            original = service.database
        failures = sum('"status":503' in line for line in service.log().splitlines())

        restored = pathlib.Path(directory) / "restored.db"
        command = [tool("litestream"), "restore", "-config", config, "-o", restored, original]
        ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=RESTORE_SECONDS)
        check_equal(ran.returncode, 0, f"litestream restore succeeds:\n{ran.stdout}{ran.stderr}")
        check(len(acknowledged) > 200, "there was some load", len(acknowledged))
        missing = sorted(set(acknowledged) - stored(restored))
        check_equal(missing, [], "every acknowledged message is in the replica")

        elsewhere = pathlib.Path(directory) / "elsewhere"
        elsewhere.mkdir()
        shutil.copy(restored, elsewhere / "inbox.db")
        with Service(binary, elsewhere) as service:
            total = json.loads(service.request("GET", "/messages?limit=1")[2])["total"]
            check(total >= len(acknowledged), "a service on the restored database lists them", total)
            check_equal(service.stop(), 0, "it ends in order")
    print(f"litestream: {len(acknowledged)} acknowledged under load, all restored ({failures} answers were 503)")


if __name__ == "__main__":
    main(binary_argument(__doc__))
