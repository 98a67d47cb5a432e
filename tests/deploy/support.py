"""What the checks in this directory share: the service running on a free loopback port, other programs beside it, and
a signer. Only the standard library."""

import hashlib
import hmac
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
SECRET = "deploy-secret"
START_SECONDS = 60  # a slow machine that does something else too; the page waits up to 30 s between two tries
STOP_SECONDS = 60  # of which the service allows itself 10 s for what is in flight


def check(held, claim, found=""):
    """Ends this program with exit status 1 unless the claim held."""
    if not held:
        name = pathlib.Path(sys.argv[0]).name
        sys.exit(f"{name}: it should be that {claim}\nfound: {found}")


def check_equal(found, right, claim):
    check(found == right, claim, f"{found!r}\ninstead of: {right!r}")


def tool(name):
    """The path of a program: unpacked or installed into target/ by tests/deploy/tools, or the machine's own."""
    places = [ROOT / "target/tools/usr/bin", ROOT / "target/tools/usr/sbin", ROOT / "target/venv/bin"]
    found = shutil.which(name, path=os.pathsep.join(map(str, places))) or shutil.which(name)
    check(found, f"{name} is there; `bash tests/deploy/tools` gets it", "it is not")
    return found


def free_port():
    """Below the ports that the kernel gives to clients: no connection takes it before it is used, or between a stop and
    the next start."""
    for port in random.sample(range(20000, 30000), 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not matter
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue  # another program listens there
    check(False, "one of 100 ports is free")


def wait_for(claim, condition, found=lambda: "", seconds=START_SECONDS):
    deadline = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < deadline, f"{claim} within {seconds} s", found())
        time.sleep(0.05)


def answers(port):
    """Whether something accepts connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def sign(body, secret=SECRET):
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def message(message_id, text="Hello"):
    """A body as a sender writes it, with white space that a proxy that reformats would change."""
    fields = {
        "message_id": message_id,
        "from": "+919876543210",
        "to": "+14155550100",
        "ts": "2025-01-15T10:00:00Z",
        "text": text,
    }
    return json.dumps(fields, ensure_ascii=False).encode()


def certificate(directory, address):
    """A certificate with its key in one file, as HAProxy reads it, and what a client needs to trust it."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=inbox.example.com", "-addext", f"subjectAltName=IP:{address}"]
    parts = [pathlib.Path(directory) / name for name in ("cert.pem", "key.pem")]
    subprocess.run([*command, "-out", parts[0], "-keyout", parts[1]], check=True, capture_output=True, timeout=60)
    pem = pathlib.Path(directory) / "inbox.pem"
    pem.write_text("".join(part.read_text() for part in parts))
    return pem, ssl.create_default_context(cafile=parts[0])


class Program:
    """A program that runs beside the service. Leaving the `with` block ends it, by its process id."""

    def __init__(self, command, directory, name=None, environment=None):
        self.command = [str(word) for word in command]
        self.environment = environment
        self.log_path = pathlib.Path(directory) / f"{name or pathlib.Path(self.command[0]).name}.log"

    def __enter__(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def wait_until_ready(self):
        pass

    def log(self):
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def wait_until(self, claim, condition):
        """Waits for something that the program does while it runs."""

        def held():
            check(self.process.poll() is None, f"{self.command[0]} goes on running", self.log())
            return condition()

        wait_for(claim, held, self.log)

    def stop(self):
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=STOP_SECONDS)


class Service(Program):
    """The service, ready, with its database in `directory`."""

    def __init__(self, binary, directory, **settings):
        self.port = free_port()
        self.database = pathlib.Path(directory) / "inbox.db"
        environment = {
            "WEBHOOK_INBOX_SETTINGS": "/dev/null",  # not those of a service on this machine
            "WEBHOOK_SECRET": SECRET,
            "DATABASE_URL": f"sqlite:///{self.database}",
            "LISTEN_ADDR": f"127.0.0.1:{self.port}",
            **settings,
        }
        super().__init__([binary], directory, "service", environment)

    def wait_until_ready(self):
        self.wait_until("the service is ready", lambda: self.is_ready())

    def is_ready(self):
        try:
            return self.request("GET", "/health/ready")[0] == 200
        except OSError:
            return False

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)

    def request(self, method, target, body=None, fields=None):
        """Status, fields and body."""
        connection = self.connection()
        try:
            connection.request(method, target, body, fields or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def post(self, body, **fields):
        return self.request("POST", "/webhook", body, {"X-Signature": sign(body), **fields})[0]

    def log_lines(self):
        whole = self.log().rpartition("\n")[0]  # the service may be writing the next
        return [json.loads(line) for line in whole.splitlines()]


def binary_argument(usage):
    """The path of the binary, which is the only argument of every check here."""
    if len(sys.argv) != 2:
        sys.exit(usage)
    return os.path.abspath(sys.argv[1])
