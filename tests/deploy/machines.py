"""The lines of docs/growing.md for several machines with Debian, typed on machines of their own.

Usage: python3 tests/deploy/machines.py PATH_OF_THE_TARBALL

Needs the right to make namespaces, as root has it. Each machine is a network namespace with its address on one bridge, and
a mount namespace with an /etc, /run, /usr/local and /var/lib of its own. The primary is lost while its standby runs; the
standby is promoted, and the lost one comes back as a standby. Nothing of it is left. Half a minute.

What is real: the release, install.sh, the files of deploy/several, the programs of PostgreSQL and those of Debian that make
and start a cluster, HAProxy, the network. What is a stand-in (STAND_INS): `sudo`, `apt`, and `systemctl`, which knows no
sandbox and no socket unit.
"""

import glob
import http.client
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

from support import ROOT, binary_argument, certificate, check, check_equal, message, sign, tool, wait_for

STEP_SECONDS = 120
ADDRESSES = {"db1": "10.0.0.21", "db2": "10.0.0.22", "one": "10.0.0.11", "haproxy": "10.0.0.10"}
LOST = "name=db1 primary=db1"

STAND_INS = {
    "sudo": r"""#!/bin/sh
[ "$1" != -u ] || { user=$2; shift 2; set -- setpriv "--reuid=$user" "--regid=$user" --init-groups "$@"; }
exec "$@"
""",
    "apt": r"""#!/bin/sh
set -eu
case "$*" in
    'install postgresql-15') pg_createcluster 15 main > /dev/null; systemctl start postgresql@15-main ;;
    'install haproxy') useradd --system --user-group haproxy; mkdir /etc/haproxy ;;
    *) echo "apt: this stand-in does not know: $*" >&2; exit 1 ;;
esac
""",
    "systemctl": r"""#!/bin/bash
set -eu
setting() { cat /etc/systemd/system/webhook-inbox.service{,.d/*.conf} | sed -n "s/^$1=//p"; }
while [ "${1#-}" != "$1" ]; do shift; done
case "$*" in
    'stop postgresql@15-main' | 'start postgresql@15-main')
        exec pg_ctlcluster --skip-systemctl-redirect 15-main "$1" > /dev/null ;;
    'restart haproxy') exec haproxy -D -f /etc/haproxy/haproxy.cfg ;;
    'enable --now webhook-inbox.socket webhook-inbox.service')
        credentials=/run/credentials; mkdir -m 700 $credentials
        setting LoadCredential | while IFS=: read -r name path; do cp "$path" "$credentials/$name"; done
        chown -R 990:990 $credentials
        mapfile -t settings < <(setting Environment; setting EnvironmentFile | xargs cat)
        # The last one: the drop-in clears the others.
        env -i "${settings[@]}" CREDENTIALS_DIRECTORY=$credentials setpriv --reuid=990 --regid=990 --clear-groups \
            "$(setting ExecStart | tail -n 1)" < /dev/null > /run/webhook-inbox.log 2>&1 &
        for _ in $(seq 200); do ! webhook-inbox-postgres health > /dev/null 2>&1 || exit 0; sleep 0.05; done
        cat /run/webhook-inbox.log >&2; exit 1 ;;
    'is-active webhook-inbox.service') exit 1 ;;
    daemon-reload | status*) ;;
    *) echo "systemctl: this stand-in does not know: $*" >&2; exit 1 ;;
esac
""",
}

# Stops at the first line that fails, so nothing is written to the /etc of whoever runs this.
MACHINE = r"""
set -eu
etc=$(mktemp -d)
mount -t tmpfs tmpfs "$etc"
cp -a /etc/. "$etc"
mount --move "$etc" /etc
rmdir "$etc"
printf '%s\n' '127.0.0.1 localhost' HOSTS > /etc/hosts
: > /etc/resolv.conf
rm -rf /etc/postgresql /etc/webhook-inbox /etc/haproxy
mkdir /etc/postgresql
for directory in /run /usr/local /var/lib/postgresql /var/log; do mount -t tmpfs -o mode=755 tmpfs $directory; done
mkdir -p /usr/local/bin /usr/local/sbin /run/systemd/system /var/log/postgresql
chown postgres: /etc/postgresql /var/lib/postgresql /var/log/postgresql
install -d -o postgres /run/postgresql
ip link set lo up
exec sleep infinity
"""


class Machine:
    """Namespaces that a process holds, with a network cable to the bridge."""

    def __init__(self, name, directory):
        self.name, self.directory = name, directory
        hosts = " ".join(f"'{ADDRESSES[host]} {host}'" for host in ("db1", "db2"))
        self.holder = subprocess.Popen(["unshare", "--mount", "--net", "bash", "-c", MACHINE.replace("HOSTS", hosts)])
        cmdline = pathlib.Path("/proc", str(self.holder.pid), "cmdline")
        wait_for(f"{name} is there", lambda: cmdline.read_bytes().startswith(b"sleep\0"))
        cable = f"cable-{name}"
        run("ip", "link", "add", "name", cable, "type", "veth", "peer", "name", "eth0", "netns", str(self.holder.pid))
        run("ip", "link", "set", cable, "master", "bridge", "up")
        self.type(f"ip addr add {ADDRESSES[name]}/24 dev eth0; ip link set eth0 up")

    def type(self, lines):
        """Runs lines as an operator pastes them; returns what they print."""
        libraries = os.pathsep.join(glob.glob(str(ROOT / "target/tools/usr/lib/*-linux-gnu")))
        path = [self.directory / "stand-ins", "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin",
                pathlib.Path(tool("haproxy")).parent]
        environment = {"PATH": os.pathsep.join(map(str, path)), "LD_LIBRARY_PATH": libraries, "HOME": "/root"}
        command = ["nsenter", "--target", str(self.holder.pid), "--mount", "--net", "bash", "-euo", "pipefail", "-c"]
        with tempfile.TemporaryFile() as output:  # what stays running would keep a pipe open
            ended = subprocess.run(
                [*command, f"cd {self.directory}/release\n{lines}"],
                env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=STEP_SECONDS,
            )
            output.seek(0)
            text = output.read().decode()
        check_equal(ended.returncode, 0, f"these lines end well on {self.name}:\n{lines}\n{text}")
        return text

    def lose(self):
        """The cable first, so that the end of the server is not noticed at the other end."""
        run("ip", "link", "set", f"cable-{self.name}", "down")
        pid = self.type("head -n 1 /var/lib/postgresql/15/main/postmaster.pid")
        os.kill(int(pid), signal.SIGKILL)

    def return_to_the_network(self):
        run("ip", "link", "set", f"cable-{self.name}", "up")


def run(*command):
    subprocess.run(command, check=True, timeout=STEP_SECONDS)


def blocks_of_the_page():
    page = (ROOT / "docs/growing.md").read_text(encoding="utf-8")
    section = page.split("\n## A complete example\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^ *```\n(.*?)^ *```$", section, re.MULTILINE | re.DOTALL)
    check_equal(len(blocks), 8, "the section has as many blocks as are known here")
    for line in ("sudo -u postgres psql -c 'SELECT pg_promote()'", "SELECT application_name, sync_state FROM pg_stat_replication"):
        check(line in section, f"the section has {line}")
    return blocks


def main(directory, tarball):
    secrets, _compose, database, instance, haproxy, aside, _compose_again, wait_again = blocks_of_the_page()
    (directory / "stand-ins").mkdir()
    for name, script in STAND_INS.items():
        (directory / "stand-ins" / name).write_text(script)
        (directory / "stand-ins" / name).chmod(0o755)
    (directory / "release").mkdir()
    run("tar", "-xzf", tarball, "-C", directory / "release", "--strip-components=1")
    directory.chmod(0o755)
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "proc", "proc", "/proc")
    run("ip", "link", "add", "name", "bridge", "type", "bridge")
    run("ip", "addr", "add", "10.0.0.1/24", "dev", "bridge")
    run("ip", "link", "set", "bridge", "up")
    db1, db2, one, balancer = (Machine(name, directory) for name in ADDRESSES)

    pem, trust = certificate(directory, ADDRESSES["haproxy"])
    check("/path/of/certificate-and-key.pem" in secrets, "the certificate is an example", secrets)
    one.type(secrets.replace("/path/of/certificate-and-key.pem", str(pem)))
    secret = (directory / "release/secrets/webhook-secret").read_text().strip()
    check(database.startswith(LOST + "\n"), "the lines begin with the names", database)
    db1.type(database)
    db2.type(database.replace(LOST, "name=db2 primary=db1"))
    standbys = "sudo -u postgres psql -Atc 'SELECT application_name, sync_state FROM pg_stat_replication'"
    wait_for("db2 is a synchronous standby", lambda: db1.type(standbys) == "db2|sync\n", lambda: db1.type(standbys))
    output = one.type(instance)
    check("configuration: ok" in output, "check says that the instance is set up", output)
    balancer.type(haproxy)

    def delivered(name):
        connection = http.client.HTTPSConnection(ADDRESSES["haproxy"], timeout=STEP_SECONDS, context=trust)
        try:
            body = message(name)
            connection.request("POST", "/webhook", body, {"X-Signature": sign(body, secret)})
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    wait_for("a delivery is answered 200", lambda: delivered("m1"))
    db1.lose()
    lost = time.monotonic()
    db2.type("sudo -u postgres psql -c 'SELECT pg_promote()'")
    wait_for("a delivery is answered 200 after the promotion", lambda: delivered("m2"), seconds=STEP_SECONDS)
    found = time.monotonic() - lost
    db1.return_to_the_network()
    db1.type(aside)
    again = database[database.index("cd /; "):]
    db1.type(f"name=db1 primary=db2\n{again}")
    db2.type(f"sudo -u postgres psql << 'END'\n{wait_again}\nEND")
    wait_for("db1 is a synchronous standby", lambda: db2.type(standbys) == "db1|sync\n", lambda: db2.type(standbys))
    check(delivered("m3"), "a delivery is answered 200 with both servers")
    stored = db1.type("sudo -u postgres psql -Atd inbox -c 'SELECT message_id FROM messages ORDER BY 1'")
    check_equal(stored, "m1\nm2\nm3\n", "each message is at the new standby")
    print(f"the machine of the primary was lost: the first 200 came {found:.1f} s later")
    print("machines: the lines for several machines ran, before and after that")


def run_in_namespaces():
    with tempfile.TemporaryDirectory() as directory:
        namespaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        again = ["bash", "-c", '"$@"; exit $?', "bash", sys.executable, __file__, *sys.argv[1:]]
        return subprocess.run(namespaces + again, env={**os.environ, "DIRECTORY_IN_NAMESPACES": directory}).returncode


if __name__ == "__main__":
    path = binary_argument(__doc__)
    if "DIRECTORY_IN_NAMESPACES" not in os.environ:
        sys.exit(run_in_namespaces())
    main(pathlib.Path(os.environ["DIRECTORY_IN_NAMESPACES"]), path)
