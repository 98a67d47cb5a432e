"""deploy/several with the real programs: three instances behind HAProxy, and PostgreSQL with a synchronous standby.

Usage: python3 tests/deploy/instances.py PATH_OF_THE_BINARY_WITH_POSTGRESQL

The files are those in deploy/, and the statements those of docs/growing.md. Only addresses differ. Senders deliver over TLS
while instances are killed and started again, one after the other: each delivery is answered 200, and each message is stored
once. Nothing but /webhook and /webhook/meta is passed on. Then the primary is killed under load, the standby is promoted,
and the old primary comes back as its standby. A backup is restored. Seconds.
"""

import glob
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time

from support import DEPLOY, ROOT, Program, Service, answers, binary_argument, certificate, check, check_equal, free_port
from support import message, sign, tool, wait_for

SENDERS = 6
EACH = 150
PAGE = (ROOT / "docs/growing.md").read_text(encoding="utf-8")
PASSWORDS = {"inbox": "it's the inbox", "replica": "it's the replica"}


def documented(line):
    """A line that operators type: docs/growing.md has it."""
    check(line in PAGE, f"docs/growing.md has {line!r}")
    return line


class Database(Program):
    """A server that deploy/several/database.sh makes and starts, as another user than root, which PostgreSQL refuses."""

    def __init__(self, directory, name):
        self.name = name
        self.home = pathlib.Path(directory) / name
        self.home.mkdir(mode=0o700)
        self.port = free_port()
        self.as_user = []
        if os.getuid() == 0:
            os.chmod(directory, 0o755)
            self.as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        self.variables = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": "/", "LC_ALL": "C.UTF-8"}
        for file in ("database.sh", "postgresql.conf", "pg_hba.conf"):
            shutil.copy(DEPLOY / "several" / file, self.home)
        for role, password in PASSWORDS.items():
            (self.home / f"{role}-password").write_text(password + "\n")
        if self.as_user:
            subprocess.run(["chown", "-R", "nobody:nogroup", self.home], check=True)
        settings = {
            "config_file": f"{self.home}/postgresql.conf",
            "hba_file": f"{self.home}/pg_hba.conf",
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.home,
        }
        options = [word for setting in settings.items() for word in ("-c", "=".join(map(str, setting)))]
        super().__init__([*self.as_user, f"{self.home}/database.sh", "postgres", *options], directory, name)

    def of(self, primary):
        """The primary, when that is this server, or its standby. The name of a host would need a name server."""
        self.environment = {
            **self.variables,
            "NAME": self.name,
            "PRIMARY": primary.name,
            "PGDATA": f"{self.home}/main",
            "INBOX_PASSWORD_FILE": f"{self.home}/inbox-password",
            "REPLICA_PASSWORD_FILE": f"{self.home}/replica-password",
        }
        if primary is not self:
            self.environment |= {"PGHOSTADDR": "127.0.0.1", "PGPORT": str(primary.port)}
        return self

    def wait_until_ready(self):
        self.wait_until("PostgreSQL answers", lambda: self.run("pg_isready", "--quiet", check=False).returncode == 0)

    def run(self, program, *arguments, check=True, **streams):
        """Runs a program of PostgreSQL as the user of the machine, whom pg_hba.conf lets in."""
        environment = {**self.variables, "PGHOST": str(self.home), "PGPORT": str(self.port), "PGDATABASE": "postgres"}
        command = [*self.as_user, program, *arguments]
        return subprocess.run(command, env=environment, cwd="/", check=check, stdout=subprocess.PIPE, timeout=60, **streams)

    def sql(self, statement):
        return self.run("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement).stdout.decode().strip()

    def wait_until_standby_is_synchronous(self):
        statement = documented("SELECT application_name, sync_state FROM pg_stat_replication")
        wait_for("the standby is a synchronous one", lambda: self.sql(statement).endswith("|sync"), self.log)

    def is_lost(self):
        """Its machine is."""
        self.process.kill()
        self.process.wait()


class HaProxy(Program):
    def __init__(self, directory, instances):
        self.port = free_port()
        pem, self.trust = certificate(directory, "127.0.0.1")
        text = (DEPLOY / "haproxy.cfg").read_text()
        places = [("/etc/haproxy/inbox.pem", str(pem)), ("bind :443", f"bind 127.0.0.1:{self.port}")]
        places += [(f"10.0.0.1{index + 1}:8000", f"127.0.0.1:{port}") for index, port in enumerate(instances)]
        places += [("    user haproxy\n    group haproxy\n", "")]  # the package would make them
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
    with tempfile.TemporaryDirectory() as directory:
        first, second = Database(directory, "db1"), Database(directory, "db2")
        with first.of(first), second.of(first):
            first.wait_until_standby_is_synchronous()
            url = f"postgres://inbox:{PASSWORDS['inbox'].replace(' ', '%20')}@127.0.0.1:{first.port},127.0.0.1:{second.port}/inbox"
            homes = [tempfile.mkdtemp(dir=directory) for _ in range(3)]
            services = [Service(binary, home, DATABASE_URL=url, TRUSTED_PROXIES="127.0.0.1") for home in homes]
            try:
                for service in services:
                    service.__enter__()
                with HaProxy(directory, [service.port for service in services]) as proxy:
                    deliver_while_instances_fail(proxy, services)
                    status, _ = proxy.request("GET", "/messages")
                    check_equal(status, 404, "nothing but deliveries is passed on")
                    lose_the_primary(proxy, services, first, second)
                    bring_back(first, second)
                    check_equal(proxy.request("POST", "/webhook", message("last"))[0], 200, "both servers store again")
            finally:
                for service in services:
                    service.__exit__()
            restore_a_backup(second)


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


def lose_the_primary(proxy, services, primary, standby):
    acknowledged, is_over = {}, threading.Event()

    def send(sender):
        index = 0
        while not is_over.is_set():
            name = f"lost-s{sender}m{index}"
            if proxy.request("POST", "/webhook", message(name))[0] == 200:
                acknowledged[name] = time.monotonic()
                index += 1
            else:
                is_over.wait(0.02)  # a sender that tries again, with less patience than most

    senders = [threading.Thread(target=send, args=(sender,)) for sender in range(SENDERS)]
    for sender in senders:
        sender.start()
    try:
        wait_for("deliveries are under way", lambda: len(acknowledged) > SENDERS * 10)
        primary.is_lost()
        lost = time.monotonic()
        standby.sql(documented("SELECT pg_promote()"))
        promoted = time.monotonic()
        wait_for("the new primary stores", lambda: any(time > promoted for time in list(acknowledged.values())), standby.log)
        found = min(time for time in acknowledged.values() if time > promoted)
        wait_for("every instance is ready", lambda: all(service.is_ready() for service in services))
    finally:
        is_over.set()
        for sender in senders:
            sender.join()
    stored = standby.run("psql", "-XAtq", "-d", "inbox", "-c", "SELECT message_id FROM messages").stdout.decode().split()
    check_equal(set(acknowledged) - set(stored), set(), "every acknowledged message is there")
    print(f"the primary was killed: {promoted - lost:.2f} s later the standby was promoted, and {found - lost:.2f} s later")
    print(f"came the first 200; all {len(acknowledged)} acknowledged messages of that time are there")


def bring_back(lost, primary):
    """The lost primary, as a standby."""
    documented("mv /var/lib/postgresql/15/main /var/lib/postgresql/15/main.lost")
    (lost.home / "main").rename(lost.home / "main.lost")
    lost.of(primary).__enter__()
    primary.sql(documented("ALTER SYSTEM SET synchronous_standby_names = 'db1, db2'"))
    primary.sql(documented("SELECT pg_reload_conf()"))
    primary.wait_until_standby_is_synchronous()


def restore_a_backup(database):
    backup = database.run(*documented("pg_dump --format=custom inbox").split()).stdout
    database.run("createdb", "restored")
    database.run("pg_restore", "--dbname=restored", "--exit-on-error", input=backup)
    counts = [
        database.run("psql", "-XAtq", "-d", name, "-c", "SELECT count(*) FROM messages").stdout
        for name in ("inbox", "restored")
    ]
    check_equal(counts[1], counts[0], "all messages are in the backup")


if __name__ == "__main__":
    main(binary_argument(__doc__))
