"""A release, as somebody who downloaded it meets it: unpack, install, install again, upgrade, uninstall.

Usage: python3 tests/deploy/install.py PATH_OF_THE_TARBALL

Everything goes into an empty root in a temporary directory (DESTDIR), where nothing is started; the service is then
started from there with the secret that was made. Seconds.
"""

import hashlib
import os
import pathlib
import re
import shutil
import stat
import subprocess
import tempfile

from support import ROOT, Service, binary_argument, check, check_equal, message, sign

BINARY_BYTES_MAX = 6_000_000
SECRET = "etc/webhook-inbox/secret"
SETTINGS = "etc/webhook-inbox/webhook-inbox.env"
BESIDE = {
    "bash-completion/completions/webhook-inbox",
    "doc/webhook-inbox/LICENSE",
    "doc/webhook-inbox/THIRD-PARTY-RUST.html",
    "doc/webhook-inbox/THIRD-PARTY.txt",
    "fish/vendor_completions.d/webhook-inbox.fish",
    "man/man1/webhook-inbox.1",
    "zsh/site-functions/_webhook-inbox",
}


def snapshot(root):
    """Every file below a root: mode, inode and content."""
    files = {}
    for path in sorted(root.rglob("*")):
        state = path.stat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        files[str(path.relative_to(root))] = (oct(stat.S_IMODE(state.st_mode)), state.st_ino, content)
    return files


class Release:
    """An unpacked release, and a root to install it into."""

    def __init__(self, directory, root):
        self.directory = directory
        self.root = root

    def script(self, *arguments, right=0):
        command = [str(self.directory / "deploy/install.sh"), *arguments]
        environment = {"PATH": os.environ["PATH"], "DESTDIR": str(self.root)}
        ran = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=60)
        output = ran.stdout + ran.stderr
        check_equal(ran.returncode, right, f"install.sh {' '.join(arguments)} ends so:\n{output}")
        return output


def unpack(tarball, directory):
    digest, name = pathlib.Path(f"{tarball}.sha256").read_text().split()
    found = (hashlib.sha256(pathlib.Path(tarball).read_bytes()).hexdigest(), os.path.basename(tarball))
    check_equal((digest, name), found, "the checksum beside the tarball is right")
    subprocess.run(["tar", "-xzf", tarball, "-C", directory], check=True, timeout=60)
    (unpacked,) = directory.iterdir()
    check_equal(f"{unpacked.name}.tar.gz", os.path.basename(tarball), "the tarball holds one directory of its name")
    for name in ("webhook-inbox", "README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", "THIRD-PARTY.txt",
                 "THIRD-PARTY-RUST.html", "SHA256SUMS"):
        check((unpacked / name).is_file(), f"the release has {name}")
    for file in filter(pathlib.Path.is_file, (ROOT / "deploy").rglob("*")):
        name = file.relative_to(ROOT)
        check((unpacked / name).read_bytes() == file.read_bytes(), f"the release has {name}")
    binary = (unpacked / "webhook-inbox").read_bytes()
    check(len(binary) < BINARY_BYTES_MAX, f"the binary is smaller than {BINARY_BYTES_MAX} bytes", len(binary))
    size = f"{len(binary) / 1e6:.1f} MB"
    pages = (unpacked / "docs/operations.md").read_text()
    check(f"is static, {size}," in pages, f"docs/operations.md says that the binary has {size}")
    for place in (ROOT, pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))):
        check(str(place).encode() not in binary, f"the binary does not name {place}, where it was built")
    version = subprocess.run([unpacked / "webhook-inbox", "--version"], capture_output=True, text=True, timeout=60).stdout
    (sqlite,) = re.findall(r"SQLite [0-9.]+", version)
    check(f"**{sqlite}**" in pages, f"docs/operations.md says that it bundles {sqlite}")
    check_third_party((unpacked / "THIRD-PARTY.txt").read_text())
    return unpacked


def check_third_party(text):
    """Each crate of the locked dependencies that cargo links into one of the binaries has its licence there."""
    command = ["cargo", "tree", "--locked", "--offline", "--features=postgres", "--edges=normal", "--prefix=none",
               "--format={p}"]
    tree = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout
    crates = {" ".join(line.split()[:2]) for line in tree.splitlines()} - {""}
    listed = {f"{name} v{version}" for name, version in re.findall(r"^(\S+) ([0-9]\S*): .+\n-+$", text, re.MULTILINE)}
    own = {crate for crate in crates if crate.startswith("webhook-inbox ")}
    check(len(crates) > 50, "cargo names the crates", crates)
    check_equal(sorted(crates - own - listed), [], "THIRD-PARTY.txt lacks no crate")
    for words in ("Permission is hereby granted", "This software is provided 'as-is'", "UNICODE LICENSE V3", "SQLite"):
        check(words in text, f"THIRD-PARTY.txt says: {words}")


def check_service(root, directory):
    """The installed binary serves, and the secret that was made is the one that signs."""
    secret = (root / SECRET).read_text()
    installed = root / "usr/local/bin/webhook-inbox"
    # As the unit gives it: LoadCredential=WEBHOOK_SECRET:/etc/webhook-inbox/secret.
    with Service(installed, directory, WEBHOOK_SECRET="", WEBHOOK_SECRET_FILE=str(root / SECRET)) as service:
        body = message("m1")
        status = service.request("POST", "/webhook", body, {"X-Signature": sign(body, secret)})[0]
        check_equal(status, 200, "a message signed with the secret is taken")
        check_equal(service.stop(), 0, "it ends in order")


def main(tarball):
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        for name in ("release", "root", "run"):
            (directory / name).mkdir()
        root = directory / "root"
        release = Release(unpack(tarball, directory / "release"), root)

        release.script()
        first = snapshot(root)
        check_equal(first["usr/local/bin/webhook-inbox"][0], "0o755", "the binary can be run")
        check_equal((first["etc/webhook-inbox"][0], first[SECRET][0]), ("0o755", "0o600"), "the secret is root's alone")
        check_equal(first[SETTINGS][0], "0o644", "everybody may read the settings")
        check(re.fullmatch(r"[0-9a-f]{64}", (root / SECRET).read_text()), "the secret is 32 bytes in hexadecimal")
        for unit in ("webhook-inbox.service", "webhook-inbox.socket"):
            check_equal(first[f"etc/systemd/system/{unit}"][0], "0o644", f"{unit} is installed")
        share = root / "usr/local/share"
        beside = {str(path.relative_to(share)) for path in share.rglob("*") if path.is_file()}
        check_equal(beside, BESIDE, "licences, manual page and completions are installed")
        release.script()
        check_equal(snapshot(root), first, "installing again changes nothing")
        check_service(root, directory / "run")

        # An operator has put the sender's secret in its place and changed a setting, and there is data.
        settings = (root / SETTINGS).read_text() + "LOG_LEVEL=WARNING\n"
        (root / SETTINGS).write_text(settings)
        (root / SECRET).write_text("the sender's own")
        (root / SECRET).chmod(0o644)
        data = root / "var/lib/webhook-inbox/inbox.db"
        data.parent.mkdir(parents=True)
        shutil.copy(directory / "run/inbox.db", data)
        old = b"#!/bin/sh\n# an older version\n"
        (root / "usr/local/bin/webhook-inbox").write_bytes(old)
        release.script()
        after = snapshot(root)
        check_equal((root / SECRET).read_text(), "the sender's own", "an upgrade keeps the secret")
        check_equal((root / SETTINGS).read_text(), settings, "an upgrade keeps the settings")
        check_equal(after[SECRET][0], "0o600", "an upgrade makes the secret root's alone again")
        check_equal(after["usr/local/bin/webhook-inbox"][2], first["usr/local/bin/webhook-inbox"][2], "it is upgraded")
        previous = (root / "usr/local/bin/webhook-inbox.previous").read_bytes()
        check_equal(previous, old, "the version before is kept for a rollback")

        stored = data.read_bytes()
        release.script("--uninstall")
        left = [name for name in snapshot(root) if (root / name).is_file()]
        check_equal(left, [SECRET, SETTINGS, "var/lib/webhook-inbox/inbox.db"], "uninstalling leaves settings and data")
        check_equal(data.read_bytes(), stored, "the data is as it was")
        check(not (share / "doc/webhook-inbox").exists(), "nor is a directory left that only held its files")
        release.script("--uninstall")
        check("usage" in release.script("--bogus", right=1), "a wrong argument is explained")

        # Settings of a time before there was a settings file, which would win over them.
        override = root / "etc/systemd/system/webhook-inbox.service.d/override.conf"
        override.parent.mkdir(parents=True)
        override.write_text("[Service]\nEnvironment=DATABASE_URL=sqlite:////srv/inbox.db\n")
        (root / SETTINGS).unlink()
        check("webhook-inbox.service.d" in release.script(right=1), "settings elsewhere are pointed out")
        check(not (root / "usr/local/bin/webhook-inbox").exists(), "and nothing is installed")

        with open(release.directory / "webhook-inbox", "ab") as file:
            file.write(b"x")
        check("SHA256SUMS" in release.script(right=1), "a release that was changed is not installed")
        check(not (root / "usr/local/bin/webhook-inbox").exists(), "and nothing of it")
    print(f"install: {os.path.basename(tarball)} installs, upgrades and uninstalls")


if __name__ == "__main__":
    main(binary_argument(__doc__))
