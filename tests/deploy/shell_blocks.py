"""Every `shell` block of docs/, run as an operator would paste it: containers, installation, token, upgrade, backup.

Usage: python3 tests/deploy/shell_blocks.py PATH_OF_THE_TARBALL

Needs the right to make namespaces, as root has it. Everything happens in a root directory in memory: the machine's /usr,
read-only, without /usr/local; an /etc, /var, /run, /dev and /tmp of its own; and a network of its own, so that port 8000
is free. The blocks run in order, in a directory that looks like a clone, as a user who is not root. Nothing of it is
left. Seconds.

What is real: the release, install.sh, the unit's settings and credentials, the commands, file owners and rights. What is a
stand-in (STAND_INS), and says so:

- `sudo` becomes root with an environment of its own, without asking.
- `systemctl` notes what it is asked, and starts, stops and restarts the service with the user, EnvironmentFile=,
  Environment=, LoadCredential= and StateDirectory= of the unit and its drop-ins. It knows no sandbox and no socket unit.
- `docker` notes what it is asked. A container is a directory with the binary and what else the Dockerfile puts into the
  image, entered by chroot(8) as the image's user. Nothing is built, and ports and volumes are only words.
- `make dist` unpacks the release that this program was given; any other target is the real Makefile's.
"""

import fcntl
import os
import pathlib
import re
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile

from support import ROOT, binary_argument, check, check_equal

BLOCK = re.compile(r"^```shell\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STEP_SECONDS = 180
USER = 1000
PATH = "/stand-ins:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

STAND_INS = {
    # A script cannot be setuid, a shell can; `-p` keeps it from giving that up, and setpriv makes it real.
    "sudo": f"""#!/bin/bash
exec /stand-ins/root-shell -p -c 'exec setpriv --reuid=0 --regid=0 --clear-groups env -i PATH={PATH} HOME=/root "$@"' sudo "$@"
""",
    "systemctl": r"""#!/bin/bash
set -eu
[ "$(id -u)" -eq 0 ] || { echo 'systemctl: Access denied' >&2; exit 1; }
echo "$*" >> /asked/systemctl
unit=/etc/systemd/system/webhook-inbox.service pid=/run/webhook-inbox.pid

setting() { cat "$unit" "$unit".d/*.conf 2> /dev/null | sed -n "s/^$1=//p"; }

alive() { [ -s $pid ] && kill -0 "$(cat $pid)" 2> /dev/null; }

stop() {
    ! alive || kill "$(cat $pid)"
    for _ in $(seq 1000); do alive || return 0; sleep 0.05; done
    echo 'systemctl: the service does not stop' >&2; exit 1
}

start() {
    ! alive || return 0
    credentials=/run/credentials/webhook-inbox.service data=/var/lib/$(setting StateDirectory)
    rm -rf "$credentials"; mkdir -p "$credentials" "$data"
    setting LoadCredential | while IFS=: read -r name path; do cp "$path" "$credentials/$name"; done
    chown -R 990:990 "$credentials" "$data"; chmod 700 "$credentials" "$data"
    # In this order: for systemd, too, the file wins.
    mapfile -t settings < <(setting Environment; setting EnvironmentFile | xargs cat | grep '^[A-Z]')
    env -i "${settings[@]}" CREDENTIALS_DIRECTORY="$credentials" \
        setpriv --reuid=990 --regid=990 --clear-groups "$(setting ExecStart)" < /dev/null >> /var/log/service 2>&1 &
    echo $! > $pid
    for _ in $(seq 1000); do
        "$(setting ExecStart)" health http://127.0.0.1:8000 > /dev/null 2>&1 && return
        alive || break; sleep 0.05
    done
    echo 'systemctl: the service does not start' >&2; cat /var/log/service >&2; exit 1
}

while [ $# -gt 0 ] && [ "${1#-}" != "$1" ]; do shift; done
case $1 in
    daemon-reload | status) ;;
    is-active) alive ;;
    enable | start) start ;;
    disable | stop) stop ;;
    restart) stop; start ;;
    *) echo "systemctl: this stand-in does not know: $*" >&2; exit 1 ;;
esac
""",
    "docker": r"""#!/bin/bash
set -eu
echo "$*" >> /asked/docker
fail() { echo "docker: this stand-in does not know: $*" >&2; exit 1; }
inside() { sudo env "$@"; }
[ "$1" != compose ] || { compose=yes; shift; }
root=/containers/inbox pid=/containers/pid
case "$1 ${2-}" in
    'build -t' | 'up --build')
        grep -q '^FROM scratch$' Dockerfile && grep -q '^USER 65532:65532$' Dockerfile
        sudo sh -ec "mkdir -p $root/data $root/tmp $root/proc; cp /release/webhook-inbox $root
            chown 65532:65532 $root/data $root/tmp; mountpoint -q $root/proc || mount --bind /proc $root/proc"
        ;;&
    'up --build' | 'run -d')
        [ -n "${WEBHOOK_SECRET:-}" ] || { echo 'docker: WEBHOOK_SECRET is not set' >&2; exit 1; }
        sudo sh -ec "WEBHOOK_SECRET=$WEBHOOK_SECRET chroot --userspec=65532:65532 $root /webhook-inbox \
            < /dev/null > /containers/log 2>&1 & echo \$! > $pid"
        for _ in $(seq 1000); do
            /release/webhook-inbox health http://127.0.0.1:8000 > /dev/null 2>&1 && exit; sleep 0.05
        done
        cat /containers/log >&2; exit 1
        ;;
    'build -t') ;;
    'exec inbox') sudo chroot --userspec=65532:65532 $root "${@:3}" ;;
    "cp inbox:"*) sudo cat "$root/${2#inbox:}" > "$3/$(basename "$2")" ;;
    'logs --follow') cat /containers/log ;;
    'down ' | 'rm -f')
        sudo sh -c "kill \$(cat $pid); while kill -0 \$(cat $pid) 2> /dev/null; do sleep 0.05; done"
        ;;
    *) fail "$@" ;;
esac
""",
    "make": r"""#!/bin/bash
set -eu
[ "$*" = dist ] || exec /usr/bin/make "$@"
mkdir -p target/dist
tar -xzf /home/user/download/*.tar.gz -C target/dist
""",
}


def run_in_namespaces():
    """Runs this program again in namespaces of its own; returns its exit status.

    A shell is their first process: it waits for what others leave. The mounts end with the namespaces, and outside them the
    root is an empty directory. Only rmdir ever removes it: below the mounts are the machine's own files.
    """
    root = tempfile.mkdtemp()
    try:
        again = ["bash", "-c", '"$@"; exit $?', "bash", sys.executable, __file__, *sys.argv[1:]]
        namespaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        return subprocess.run(namespaces + again, env={**os.environ, "ROOT_IN_NAMESPACES": root}).returncode
    finally:
        os.rmdir(root)


def make_root(root, tarball):
    def run(*command):
        subprocess.run(command, check=True, timeout=STEP_SECONDS)

    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", root)
    for name in ("usr", "proc", "dev", "etc/ssl", "root", "run/systemd/system", "var/lib", "var/log", "var/backups",
                 "home/user/download", "stand-ins", "asked", "containers", "release", "no-proc/tmp"):
        (root / name).mkdir(parents=True)
    run("mount", "--bind", "-o", "ro", "/usr", root / "usr")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", root / "usr/local")
    (root / "usr/local/bin").mkdir()
    for name in ("bin", "sbin", "lib", "lib64"):
        path = pathlib.Path("/", name)
        if path.is_symlink():
            (root / name).symlink_to(os.readlink(path))
        elif path.is_dir():
            (root / name).mkdir()
            run("mount", "--bind", "-o", "ro", path, root / name)
    run("mount", "-t", "proc", "proc", root / "proc")
    for name in ("null", "zero", "random", "urandom"):
        (root / "dev" / name).touch()
        run("mount", "--bind", f"/dev/{name}", root / "dev" / name)
    (root / "dev/fd").symlink_to("/proc/self/fd")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    for name in ("ld.so.cache", "ssl/openssl.cnf"):
        if pathlib.Path("/etc", name).exists():
            shutil.copy(f"/etc/{name}", root / "etc" / name)
    (root / "etc/passwd").write_text(f"root:x:0:0::/root:/bin/bash\nuser:x:{USER}:{USER}::/home/user:/bin/bash\n")
    (root / "etc/group").write_text(f"root:x:0:\nuser:x:{USER}:\n")
    for name, script in STAND_INS.items():
        (root / "stand-ins" / name).write_text(script)
        (root / "stand-ins" / name).chmod(0o755)
    shutil.copy("/bin/bash", root / "stand-ins/root-shell")
    (root / "stand-ins/root-shell").chmod(0o4755)
    (root / "asked").chmod(0o777)
    clone = root / "home/user/clone"
    clone.mkdir()
    for name in ("Makefile", "Dockerfile", "docker-compose.yml", "README.md"):
        shutil.copy(ROOT / name, clone / name)
    for path in (tarball, tarball + ".sha256"):
        shutil.copy(path, root / "home/user/download")
    run("tar", "-xzf", tarball, "-C", root / "release", "--strip-components=1")
    run("chown", "-R", f"{USER}:{USER}", root / "home/user")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:  # the network of its own has only a loopback
        up_and_running = 0x1 | 0x40
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", up_and_running))  # SIOCSIFFLAGS


class Machine:
    """The root directory, and a user in it who is not root."""

    def __init__(self, root):
        self.root = root

    def run(self, script, right=0, directory="/home/user/clone"):
        """Runs lines as the user; returns what they print."""
        command = ["chroot", f"--userspec={USER}:{USER}", self.root, "/bin/bash", "-euo", "pipefail", "-c",
                   f"cd {directory}\n{script}"]
        environment = {"PATH": PATH, "HOME": "/home/user", "LANG": "C.UTF-8"}
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=STEP_SECONDS
        )
        output = done.stdout + done.stderr
        check_equal(done.returncode, right, f"these lines end so:\n{script}\n{output}")
        return output

    def asked(self, program):
        """What a stand-in was asked since the last time."""
        path = self.root / "asked" / program
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def service(self):
        return (self.root / "run/webhook-inbox.pid").read_text()

    def check_backup(self, name):
        database = sqlite3.connect(self.root / name)
        check_equal(database.execute("PRAGMA integrity_check").fetchone(), ("ok",), f"{name} is a whole database")
        database.close()


def containers(machine, compose, plain):
    machine.run(compose)
    check_equal(machine.asked("docker"), [
        "compose up --build --detach",
        "compose logs --follow",
        "compose exec inbox /webhook-inbox backup --replace /data/backup.db",
        "compose cp inbox:/data/backup.db .",
        "compose down",
    ], "these are the words for compose")
    machine.check_backup("home/user/clone/backup.db")
    machine.run(f"export WEBHOOK_SECRET=s\n{plain}\n{plain.splitlines()[-2]}\ndocker rm -f inbox")
    check_equal(machine.asked("docker")[:3], [
        "build -t webhook-inbox .",
        "run -d --name inbox --restart unless-stopped --stop-timeout 20 -e WEBHOOK_SECRET -p 127.0.0.1:8000:8000 "
        "-v inbox-data:/data webhook-inbox",
        "exec inbox /webhook-inbox backup --replace /data/backup.db",
    ], "these are the words for docker")
    machine.check_backup("home/user/clone/backup.db")


def install(machine, install_lines, first_use):
    output = machine.run(install_lines)
    check(re.search(r"^[0-9a-f]{64}$", output, re.MULTILINE), "the secret is printed", output)
    check("enable --now webhook-inbox.socket webhook-inbox.service" in machine.asked("systemctl"), "it is started")
    service = machine.service()
    output = machine.run("sudo target/dist/webhook-inbox-*-linux/deploy/install.sh")
    asked = machine.asked("systemctl")
    check(not any(word in line for line in asked for word in ("restart", "start ", "stop", "enable")),
          "a second run restarts nothing", asked)
    check_equal(machine.service(), service, "the same process serves after a second run")

    output = machine.run(first_use)
    for part in ('200 {"status":"ok"}', '{"status":"ready"}', "configuration: ok", "1 messages and their indexes: ok",
                 "DATABASE_URL="):
        check(part in output, f"the lines after the installation print {part}", output)
    # Without sudo: what the user may not read is named, and what to do about it.
    output = machine.run("webhook-inbox backup /tmp/backup.db", right=74)
    check("/var/lib/webhook-inbox/inbox.db: Permission denied" in output and "sudo" in output, "sudo is advised", output)
    output = machine.run("webhook-inbox sign README.md", right=78)
    check("/etc/webhook-inbox/secret cannot be read" in output and "sudo" in output, "sudo is advised", output)
    settings = machine.root / "etc/webhook-inbox/webhook-inbox.env"
    settings.chmod(0o600)
    output = machine.run("webhook-inbox health", right=78)
    check("webhook-inbox.env cannot be read" in output and "sudo" in output, "sudo is advised", output)
    machine.run("sudo systemctl restart webhook-inbox")  # the service needs no right to the file
    settings.chmod(0o644)


def read_token(machine, lines):
    output = machine.run(lines)
    check('{"data":[{' in output, "the token opens the messages", output)
    output = machine.run("curl -s http://127.0.0.1:8000/messages")
    check("detail" in output, "nothing else does", output)


def upgrade(machine, install_lines, backup_lines, rollback):
    """From a binary that is another, as far as install.sh can see: with a byte more at its end."""
    binary = machine.root / "usr/local/bin/webhook-inbox"
    older = binary.read_bytes() + b"\n"
    machine.run("sudo sh -ec 'cd /usr/local/bin; cp webhook-inbox older; echo >> older; mv older webhook-inbox'")
    check_equal(binary.read_bytes(), older, "an older version is installed")
    machine.run(backup_lines)
    machine.check_backup("var/backups/before-upgrade.db")
    machine.asked("systemctl")
    machine.run(install_lines, directory="/home/user/download")
    check("restart webhook-inbox.service" in machine.asked("systemctl"), "an upgrade restarts the service")
    check(binary.read_bytes() != older, "an upgrade installs the release")
    machine.run(rollback)
    check_equal(binary.read_bytes(), older, "a rollback brings the older version back")
    check_equal(machine.asked("systemctl"), ["restart webhook-inbox"], "a rollback restarts the service")


def backup_and_restore(machine, backup_lines, restore, rest):
    machine.run(backup_lines)
    machine.run("sudo webhook-inbox send --id later")
    (backup,) = (machine.root / "var/backups").glob("inbox-*.db")
    backup.rename(backup.with_name("inbox-2025-01-15.db"))
    output = machine.run(restore)
    check('{"status":"ready"}' in output, "the restored service is ready", output)
    exported = machine.run("sudo webhook-inbox export")
    check("later" not in exported and len(exported.splitlines()) == 1, "the backup is in its place", exported)
    output = machine.run(rest)
    check("1 imported, 1 already there, 0 bad lines" in output, "the rest comes back", output)
    output = machine.run("sudo webhook-inbox check")
    check("2 messages and their indexes: ok" in output, "all of it is whole", output)


def without_proc(machine):
    """A root without /proc, which the service needs for its private socket."""
    shutil.copy(machine.root / "release/webhook-inbox", machine.root / "no-proc")
    settings = "WEBHOOK_SECRET=s LISTEN_ADDR=127.0.0.1:8001 DATABASE_URL=sqlite:////tmp/inbox.db"
    output = machine.run(f"sudo {settings} chroot /no-proc /webhook-inbox", right=1)
    check("Mount /proc" in output and "WORKERS" not in output, "a missing /proc is named", output)


def main(root, tarball):
    found = {page.stem: BLOCK.findall(page.read_text(encoding="utf-8")) for page in ROOT.glob("docs/*.md")}
    (token,), blocks = found.pop("configuration"), found.pop("operations")
    check_equal(len(blocks), 10, "docs/operations.md has as many `shell` blocks as are run here")
    check_equal([page for page, blocks in found.items() if blocks], [], "no other page has one")
    make_root(root, tarball)
    machine = Machine(root)
    containers(machine, *blocks[:2])
    install(machine, *blocks[2:4])
    read_token(machine, token)
    upgrade(machine, *blocks[4:7])
    backup_and_restore(machine, *blocks[7:10])
    without_proc(machine)
    print(f"shell_blocks: {len(blocks) + 1} blocks of docs/ ran")


if __name__ == "__main__":
    path = binary_argument(__doc__)
    if "ROOT_IN_NAMESPACES" not in os.environ:
        sys.exit(run_in_namespaces())
    main(pathlib.Path(os.environ["ROOT_IN_NAMESPACES"]), path)
