"""Three instances that share a server of PostgreSQL, behind HAProxy with the configuration in deploy/.

Usage: python3 tests/deploy/instances.py PATH_OF_THE_BINARY_WITH_POSTGRESQL

Senders deliver over TLS while instances are killed and started again, one after the other: each delivery is answered 200,
and each message is stored once. Nothing but /webhook and /webhook/meta is passed on. Seconds.
"""

import glob
import http.client
import json
import os
import pathlib
import ssl
import subprocess
import tempfile
import threading
import time

from support import DEPLOY, ROOT, Program, Service, answers, binary_argument, check, check_equal, free_port, message, sign
from support import tool, wait_for

SENDERS = 6
EACH = 150


class Postgres(Program):
    """A server in a directory of its own, as another user than root, which it refuses."""

    def __init__(self, directory):
        self.port = free_port()
        self.programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        self.as_user = []
        data = pathlib.Path(directory) / "postgres"
        data.mkdir(mode=0o700)
        if os.getuid() == 0:
            self.as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env", "HOME=/"]
            os.chmod(directory, 0o755)
            subprocess.run(["chown", "nobody:nogroup", data], check=True)
        self.run("initdb", "-D", data, "--auth=trust", "--username=inbox", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        settings = [f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories="]
        options = [word for setting in settings for word in ("-c", setting)]
        super().__init__([*self.as_user, f"{self.programs}/postgres", "-D", data, *options], directory, "postgres")

    def run(self, program, *arguments):
        command = [*self.as_user, f"{self.programs}/{program}", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=60)

    def wait_until_ready(self):
        self.wait_until("PostgreSQL listens", lambda: answers(self.port))

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)


class HaProxy(Program):
    def __init__(self, directory, instances):
        self.port = free_port()
        certificate = pathlib.Path(directory) / "inbox.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
        command += ["-subj", "/CN=inbox.example.com", "-addext", "subjectAltName=IP:127.0.0.1"]
        parts = [pathlib.Path(directory) / name for name in ("cert.pem", "key.pem")]
        subprocess.run([*command, "-out", parts[0], "-keyout", parts[1]], check=True, capture_output=True, timeout=60)
        certificate.write_text("".join(part.read_text() for part in parts))
        self.trust = ssl.create_default_context(cafile=parts[0])
        text = (DEPLOY / "haproxy.cfg").read_text()
        places = [("/etc/haproxy/inbox.pem", str(certificate)), ("bind :443", f"bind 127.0.0.1:{self.port}")]
        places += [(f"10.0.0.1{index + 1}:8000", f"127.0.0.1:{port}") for index, port in enumerate(instances)]
        for example, here in places:
            check(example in text, f"deploy/haproxy.cfg has {example!r}", text)
            text = text.replace(example, here)
        configuration = pathlib.Path(directory) / "haproxy.cfg"
        configuration.write_text(text)
        # Where tests/deploy/tools unpacks Debian's libraries.
        libraries = os.pathsep.join(glob.glob(str(ROOT / "target/tools/usr/lib/*-linux-gnu")))
        environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
        super().__init__([tool("haproxy"), "-db", "-f", configuration], directory, "haproxy", environment)

    def wait_until_ready(self):
        self.wait_until("HAProxy listens", lambda: answers(self.port))

    def connection(self):
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=self.trust)

    def request(self, method, target, body=None):
        connection = self.connection()
        try:
            connection.request(method, target, body, {"X-Signature": sign(body)} if body else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def main(binary):
    with tempfile.TemporaryDirectory() as directory, Postgres(directory) as postgres:
        postgres.run("createdb", "-h", "127.0.0.1", "-p", str(postgres.port), "-U", "inbox", "inbox")
        url = f"postgres://inbox@127.0.0.1:{postgres.port}/inbox"
        homes = [tempfile.mkdtemp(dir=directory) for _ in range(3)]
        services = [Service(binary, home, DATABASE_URL=url, TRUSTED_PROXIES="127.0.0.1") for home in homes]
        try:
            for service in services:
                service.__enter__()
            with HaProxy(directory, [service.port for service in services]) as proxy:
                deliver_while_instances_fail(proxy, services)
                status, _ = proxy.request("GET", "/messages")
                check_equal(status, 404, "nothing but deliveries is passed on")
        finally:
            for service in services:
                service.__exit__()
        postgres.stop()
    print("three instances behind HAProxy: every delivery was answered 200 while instances failed, and is stored once")


def deliver_while_instances_fail(proxy, services):
    wait_for("HAProxy finds the instances", lambda: proxy.request("POST", "/webhook", message("first"))[0] == 200)
    wrong = []

    def send(sender):
        for index in range(EACH):
            status, body = proxy.request("POST", "/webhook", message(f"s{sender}m{index}"))
            if status != 200:
                wrong.append((status, body))

    senders = [threading.Thread(target=send, args=(sender,)) for sender in range(SENDERS)]
    for sender in senders:
        sender.start()
    for service in services[:2]:
        time.sleep(0.5)  # so that some deliveries are under way; nothing depends on how many
        service.__exit__()
        service.__enter__()
    for sender in senders:
        sender.join()
    check_equal(wrong, [], "each delivery is answered 200")
    for service in services:
        total = json.loads(service.request("GET", "/messages?limit=1")[2])["total"]
        check_equal(total, SENDERS * EACH + 1, "each message is stored once, as every instance says")


if __name__ == "__main__":
    main(binary_argument(__doc__))
