"""A smoke test of a built binary, as an operator would meet it: the static one has no other test.

Usage: python3 tests/smoke.py PATH_OF_THE_BINARY

Starts it on a free port with a database in a temporary directory, sends a signed message, asks every endpoint, stops it
with SIGTERM, and starts it again to see that the message is still there. Exit status 0 when all of that held.
"""

import hashlib
import hmac
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time

SECRET = "smoke-secret"
MESSAGE = {
    "message_id": "smoke-1",
    "from": "+919876543210",
    "to": "+14155550100",
    "ts": "2025-01-15T10:00:00Z",
    "text": "Hello, мир",
}
START_SECONDS = 60  # a slow machine that does something else too
STOP_SECONDS = 60  # of which the service allows itself 10 s for what is in flight


def free_port():
    """Below the ports that the kernel gives to clients: no connection takes it between the stop and the next start."""
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not matter
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue  # another program listens there


class Service:
    """The binary, running. Leaving the `with` block kills it if it still runs."""

    def __init__(self, binary, directory):
        self.binary = binary
        self.port = free_port()
        self.log_path = os.path.join(directory, "log")
        self.environment = {
            "WEBHOOK_INBOX_SETTINGS": "/dev/null",
            "WEBHOOK_SECRET": SECRET,
            "DATABASE_URL": "sqlite:///" + os.path.join(directory, "inbox.db"),
            "LISTEN_ADDR": f"127.0.0.1:{self.port}",
        }

    def __enter__(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([self.binary], env=self.environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while self.health() != 0:
                check(self.process.poll() is None, "the service goes on running", self.log())
                check(time.monotonic() < deadline, f"the service is ready within {START_SECONDS} s", self.log())
                time.sleep(0.05)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def log(self):
        with open(self.log_path, encoding="utf-8") as log:
            return log.read()

    def health(self):
        """The exit status of the subcommand that HEALTHCHECK uses."""
        command = [self.binary, "health"]
        return subprocess.run(command, env=self.environment, capture_output=True, timeout=START_SECONDS).returncode

    def request(self, method, target, body=None, fields=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        try:
            connection.request(method, target, body, fields or {})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def post(self, message, secret=SECRET):
        body = json.dumps(message).encode()
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return self.request("POST", "/webhook", body, {"X-Signature": signature})

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=STOP_SECONDS)


def check(held, claim, found=""):
    if held:
        return
    sys.exit(f"smoke: it should be that {claim}\nfound: {found}")


def check_equal(found, right, claim):
    check(found == right, claim, f"{found!r}\ninstead of: {right!r}")


def check_message_is_there(service):
    status, body = service.request("GET", "/messages")
    check_equal(status, 200, "/messages answers")
    page = {"data": [MESSAGE], "total": 1, "limit": 50, "offset": 0}
    check_equal(json.loads(body), page, "/messages lists the message")
    status, body = service.request("GET", "/stats")
    check_equal((status, json.loads(body)["total_messages"]), (200, 1), "/stats counts the message")


def main(binary):
    refused = subprocess.run([binary], env={}, capture_output=True, text=True, timeout=START_SECONDS)
    check_equal(refused.returncode, 78, "without WEBHOOK_SECRET it does not start")
    check("WEBHOOK_SECRET" in refused.stderr, "it says that WEBHOOK_SECRET is missing", refused.stderr)

    with tempfile.TemporaryDirectory() as directory:
        with Service(binary, directory) as service:
            check_equal(service.request("GET", "/health/live"), (200, '{"status":"ok"}'), "it is live")
            check_equal(service.request("GET", "/health/ready"), (200, '{"status":"ready"}'), "it is ready")
            check_equal(service.post(MESSAGE), (200, '{"status":"ok"}'), "a signed message is taken")
            check_equal(service.post(MESSAGE), (200, '{"status":"ok"}'), "the same again is answered the same")
            check_equal(service.post(MESSAGE, "other")[0], 401, "another secret is refused")
            check_message_is_there(service)
            status, body = service.request("GET", "/metrics")
            for sample in ('result="created"} 1', 'result="duplicate"} 1', 'result="invalid_signature"} 1'):
                sample = "webhook_requests_total{" + sample
                check(status == 200 and sample in body.splitlines(), f"/metrics has {sample}", body)
            check_equal(service.stop(), 0, "SIGTERM ends it with exit status 0")
            check(service.health() == 1, "health fails when nothing runs")
            for line in service.log().splitlines():
                json.loads(line)

        with Service(binary, directory) as service:
            check_message_is_there(service)
            check_equal(service.stop(), 0, "SIGTERM ends it with exit status 0 again")
    print(f"smoke: {binary} does what it should")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(os.path.abspath(sys.argv[1]))
