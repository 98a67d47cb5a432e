"""The package for Debian, as dpkg meets it: install, upgrade, remove, install again, purge.

Usage: python3 tests/deploy/deb.py PATH_OF_THE_UNPACKED_RELEASE

All of it in a root directory of its own, in a mount namespace: `dpkg --root` runs the package's scripts in it. It has
the few programs that they call, and a stand-in for systemctl that writes down what it was asked. Needs root. Seconds.
"""

import gzip
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tempfile

from support import ROOT, check, check_equal

SECRET = "etc/webhook-inbox/secret"
SETTINGS = "etc/webhook-inbox/webhook-inbox.env"
DATABASE = "var/lib/webhook-inbox/inbox.db"
UNITS = ("webhook-inbox.socket", "webhook-inbox.service")
PROGRAMS = ("sh", "od", "tr", "wc", "mv", "rm", "rmdir", "chmod")
MESSAGE = '{"message_id":"m1","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:00Z","text":"Hello"}\n'
SYSTEMCTL = """#!/bin/sh
# A unit is enabled, or active, while there is a file that says so.
echo "$*" >> /asked
[ "$1" != --quiet ] || shift
action=$1
shift
for unit in "$@"; do
    case $action in
        enable) : > /enabled.$unit ;;
        disable) rm -f /enabled.$unit ;;
        start | restart) : > /active.$unit ;;
        stop) rm -f /active.$unit ;;
        is-active | is-enabled) [ -e /${action#is-}d.$unit ] || [ -e /${action#is-}.$unit ] || exit 1 ;;
    esac
done
"""


def run(*command, text=None):
    ran = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    check_equal(ran.returncode, 0, f"{' '.join(map(str, command))} succeeds:\n{ran.stdout}{ran.stderr}")
    return ran.stdout


class Machine:
    """A root directory with an empty database of packages."""

    def __init__(self, root):
        self.root = root
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", root)
        for name in ("dev", "tmp", "usr/bin", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"):
            (root / name).mkdir(parents=True)
        (root / "var/lib/dpkg/status").touch()
        (root / "bin").symlink_to("usr/bin")
        for name in ("null", "urandom"):
            (root / "dev" / name).touch()
            run("mount", "--bind", f"/dev/{name}", root / "dev" / name)
        for name in PROGRAMS:
            program = shutil.which(name)
            shutil.copy(program, root / "usr/bin" / name)
            for library in re.findall(r"/\S+", run("ldd", program)):
                (root / library[1:]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library.rstrip(":"), root / library[1:])

    def dpkg(self, *arguments):
        # The log of the machine that this runs on is not concerned.
        return run("dpkg", f"--root={self.root}", f"--log={self.root}/dpkg.log", "--force-confdef", "--force-confold",
                   *arguments)

    def program(self, *arguments, text=None):
        return run("chroot", self.root, "/usr/bin/webhook-inbox", *arguments, text=text)

    def files(self):
        """What there is of the program."""
        found = (path for path in self.root.rglob("*webhook-inbox*") if "dpkg" not in path.parts)
        inside = (path for directory in found for path in [directory, *directory.rglob("*")])
        return {str(path.relative_to(self.root)) for path in inside if path.is_file()}

    def start_systemd(self):
        (self.root / "run/systemd/system").mkdir(parents=True)
        (self.root / "usr/bin/systemctl").write_text(SYSTEMCTL)
        (self.root / "usr/bin/systemctl").chmod(0o755)

    def asked(self):
        asked = (self.root / "asked").read_text().splitlines()
        (self.root / "asked").unlink()
        return [line for line in asked if not re.match("--quiet|daemon-reload", line)]


def without_systemd(machine, package, newer):
    """As in the making of an image."""
    root = machine.root
    machine.dpkg("--install", package)
    secret = (root / SECRET).read_text()
    check(re.fullmatch(r"[0-9a-f]{64}", secret), "the secret is 32 bytes in hexadecimal")
    check_equal(stat.S_IMODE((root / SECRET).stat().st_mode), 0o600, "the secret is root's alone")
    for unit in UNITS:
        there = (ROOT / "deploy" / unit).read_text().replace("/usr/local/bin/", "/usr/bin/")
        check_equal((root / "usr/lib/systemd/system" / unit).read_text(), there, f"{unit} is that of deploy/")
    check("ExecStart=/usr/bin/webhook-inbox\n" in there, "the unit starts the program of the package")
    page = gzip.decompress((root / "usr/share/man/man1/webhook-inbox.1.gz").read_bytes())
    check(b".SH COMMANDS" in page, "the manual page is there")
    machine.program("sign", "--header", text="{}")

    (root / DATABASE).parent.mkdir()
    machine.program("import", text=MESSAGE)
    exported = machine.program("export")
    settings = (root / SETTINGS).read_text() + "LOG_LEVEL=WARNING\n"
    (root / SETTINGS).write_text(settings)
    machine.dpkg("--install", newer)
    check("0.2.0" in machine.dpkg("--status", "webhook-inbox"), "the newer version is installed")
    machine.dpkg("--remove", "webhook-inbox")
    check_equal({name for name in machine.files() if not name.startswith(DATABASE)}, {SECRET, SETTINGS},
                "settings and secret are left")
    machine.dpkg("--install", package)
    kept = ((root / SECRET).read_text(), (root / SETTINGS).read_text())
    check_equal(kept, (secret, settings), "both are as they were")
    check_equal(machine.program("export"), exported, "so are the messages")
    operators = root / "etc/webhook-inbox/read-token"
    operators.write_text("an operator's own")
    machine.dpkg("--purge", "webhook-inbox")
    check_equal(machine.files(), {str(operators.relative_to(root))}, "a purge leaves what the package did not make")
    operators.unlink()


def with_systemd(machine, package, newer):
    machine.start_systemd()
    machine.dpkg("--install", package)
    check_equal(machine.asked(), [f"enable {' '.join(UNITS)}", *[f"start {unit}" for unit in UNITS]],
                "the first installation enables and starts it")
    machine.dpkg("--install", newer)
    check_equal(machine.asked(), ["restart webhook-inbox.service"], "an upgrade restarts the service alone")
    machine.dpkg("--remove", "webhook-inbox")
    check_equal(machine.asked(), [f"stop {' '.join(UNITS)}"], "a removal stops it")
    machine.dpkg("--install", newer)
    check_equal(machine.asked(), [f"start {unit}" for unit in UNITS], "installed again, it starts")
    for unit in UNITS:
        (machine.root / f"enabled.{unit}").unlink()
        (machine.root / f"active.{unit}").unlink()
    machine.dpkg("--install", newer)
    check_equal(machine.asked(), [], "what an operator has disabled stays so")
    machine.dpkg("--purge", "webhook-inbox")
    check_equal(machine.files(), set(), "a purge leaves nothing")


def beside_install_sh(machine, package):
    """The other way to install it: one of the two."""
    unit = machine.root / "etc/systemd/system/webhook-inbox.service"
    unit.parent.mkdir(parents=True)
    unit.touch()
    command = ["dpkg", f"--root={machine.root}", f"--log={machine.root}/dpkg.log", "--install", package]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    check(refused.returncode != 0 and "--uninstall" in refused.stderr, "it says what to do first", refused.stderr)


def main(release, root):
    machine = Machine(root)
    packages = []
    for version in ("0.1.0", "0.2.0"):
        package = root / "tmp" / f"{version}.deb"
        run(ROOT / "release/deb/build.sh", release, version, package)
        packages.append(package)
    without_systemd(machine, *packages)
    with_systemd(machine, *packages)
    beside_install_sh(machine, packages[0])
    print(f"deb: {release.name} installs, upgrades, is removed and is purged as a package")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if "ROOT_IN_NAMESPACE" not in os.environ:
        root = tempfile.mkdtemp()
        # The mounts end with the namespace; what is left is an empty directory.
        try:
            again = ["unshare", "--mount", sys.executable, __file__, sys.argv[1]]
            sys.exit(subprocess.run(again, env={**os.environ, "ROOT_IN_NAMESPACE": root}).returncode)
        finally:
            os.rmdir(root)
    main(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(os.environ["ROOT_IN_NAMESPACE"]))
