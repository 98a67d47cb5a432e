"""Writes the licences of all code in a release: THIRD-PARTY.txt, and THIRD-PARTY-RUST.html for the standard library.

Usage: python3 release/third_party.py TARGET DIRECTORY

A static binary passes on the code of every crate, of Rust's standard library, of SQLite and of the C library, and their
licences want their text passed on with it. What belongs to none of them, such as crates that only take part in the
build, is left out. A crate without the text of its licence is an error, so that a release without it is not made.
"""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = "webhook-inbox"
TEXTS = re.compile(r"(LICEN[CS]E|UNLICENSE|COPYING|COPYRIGHT|NOTICE)", re.IGNORECASE)
# Where a crate leaves the choice, it is taken under MIT. The others are not passed on then, nor what lists them.
MIT = re.compile(r"LICENSE[-_]MIT(\.\w+)?$", re.IGNORECASE)
NOT_CHOSEN = re.compile(r"(LICENSE([-_](APACHE|BOOST|ZLIB).*)?|UNLICENSE|COPYING|COPYRIGHT)(\.\w+)?$", re.IGNORECASE)

SQLITE = """\
libsqlite3-sys contains SQLite, whose authors have dedicated its code to the public domain:
https://sqlite.org/copyright.html
"""
MUSL = """\
musl, the C library, is Copyright (c) 2005-2020 Rich Felker, et al., under the MIT license: https://musl.libc.org.
"""
GLIBC = """\
The GNU C Library is linked into the binary, under the GNU Lesser General Public License, version 2.1 or later. To link
another version of it, build the program from its sources with `make dist`. They are complete, under the MIT license.
"""
GLIBC_TEXTS = (  # Debian's, Fedora's, Arch's
    ("/usr/share/doc/libc6/copyright", "/usr/share/common-licenses/LGPL-2.1"),
    ("/usr/share/licenses/glibc/COPYING.LIB",),
    ("/usr/share/licenses/glibc/LESSER",),
)


def crates(target):
    """The crates whose code is in one of the binaries, by name: what cargo resolves for the target, except build tools.

    There may be one too many: cargo resolves features that end up unused.
    """
    command = ["cargo", "metadata", "--locked", "--offline", "--format-version=1", "--features=postgres",
               f"--filter-platform={target}"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, reached = set(), [metadata["resolve"]["root"]]
    while reached:
        crate = reached.pop()
        if crate not in found:
            found.add(crate)
            links = nodes[crate]["deps"]
            reached += [link["pkg"] for link in links if any(kind["kind"] is None for kind in link["dep_kinds"])]
    linked = [packages[crate] for crate in found if packages[crate]["name"] != PROGRAM]
    return sorted(linked, key=lambda package: (package["name"], package["version"]))


def license_texts(package):
    """The texts to pass on, of the files in the crate's own sources."""
    directory = pathlib.Path(package["manifest_path"]).parent
    files = sorted(path for path in directory.iterdir() if path.is_file() and TEXTS.match(path.name))
    if any(MIT.match(path.name) for path in files):
        files = [path for path in files if not NOT_CHOSEN.match(path.name)]
    return [path.read_text(encoding="utf-8").strip() for path in files]


def c_library(target):
    if target.endswith("-musl"):
        return MUSL
    for paths in GLIBC_TEXTS:
        paths = [pathlib.Path(path) for path in paths]
        if all(path.is_file() for path in paths):
            return "\n\n".join([GLIBC, *(path.read_text(encoding="utf-8").strip() for path in paths)]) + "\n"
    sys.exit(f"third_party: the licence of the GNU C Library is in none of {[paths[0] for paths in GLIBC_TEXTS]}")


def main(target, directory):
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True).stdout.strip()
    standard = pathlib.Path(sysroot, "share/doc/rust/COPYRIGHT-library.html")
    if not standard.is_file():
        sys.exit(f"third_party: there is no {standard}; the component rustc of rustup has it")

    heading = f"Code in {PROGRAM} and {PROGRAM}-postgres that is not their own, and its licences"
    parts = [f"{heading}\n{'=' * len(heading)}", "The Rust standard library: THIRD-PARTY-RUST.html", SQLITE.strip()]
    without = []
    for package in crates(target):
        texts = license_texts(package)
        if not texts or not package["license"]:
            without.append(f"{package['name']} {package['version']}")
        title = f"{package['name']} {package['version']}: {package['license']}"
        parts += [f"{title}\n{'-' * len(title)}", *texts]
    if without:
        sys.exit(f"third_party: no licence is in the sources of {', '.join(without)}. Add it, or use another crate.")
    parts += [f"The C library\n{'-' * 13}", c_library(target)]

    directory = pathlib.Path(directory)
    (directory / "THIRD-PARTY.txt").write_text("\n\n".join(parts), encoding="utf-8")
    (directory / "THIRD-PARTY-RUST.html").write_bytes(standard.read_bytes())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
