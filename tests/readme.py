"""Runs the lines of README.md and of docs/ as a newcomer would, and compares what they print with what stands there.

Usage: python3 tests/readme.py

Every block of PAGES fenced as `sh` is run, in order, in one bash, against the service that the block `make run` has
started in another. A block fenced as `json` or `text` right below it is what it has to print; in it, `…` stands for
anything. `make test` is only looked for: who runs this runs that too. Blocks fenced as `shell` need a container engine
or root: tests/deploy/shell_blocks.py runs those.

All of it happens in a copy of the repository without what git ignores, like a fresh clone: target/readme. The build is
shared with the repository's own, so the copy is removed when all went well: as long as its files are there, cargo looks
at them, and not at the repository's, for what has changed. Port 8000 is used when it is free, and another one in its
place when it is not.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COPY = ROOT / "target" / "readme"
PAGES = ("README.md", "docs/api.md", "docs/commands.md")
PORT = 8000
BUILD_SECONDS = 900  # a cold release build on two slow cores
LINES_SECONDS = 60
STOP_SECONDS = 15
# Language and content of a fenced block, and the prose up to the next.
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$(.*?)(?=^```\w|\Z)", re.MULTILINE | re.DOTALL)


def blocks(readme):
    """Each `sh` block, and the block of output right below it or None."""
    found = []
    right_below = False
    for language, content, prose in BLOCK.findall(readme):
        if language == "sh":
            found.append([content.strip(), None])
        elif language in ("json", "text") and right_below:
            found[-1][1] = content.strip()
        right_below = language == "sh" and not prose.strip()
    return found


def matches(printed, expected):
    """Whether that was printed; `…` in what was expected stands for anything within a line."""
    pattern = ".*".join(re.escape(part) for part in expected.split("…"))
    return re.fullmatch(pattern, printed) is not None


def copy_repository():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    shutil.rmtree(COPY, ignore_errors=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, COPY / name)  # with its time, so that cargo does not build it again


def free_port():
    for port in (PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return probe.getsockname()[1]
            except OSError:
                continue
    sys.exit("readme: there is no free port")


def wait_for_service(process, log_path):
    deadline = time.monotonic() + BUILD_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"readme: `make run` ended:\n{log_path.read_text()}")
        if '"message":"listening"' in log_path.read_text():
            return
        time.sleep(0.1)
    sys.exit(f"readme: `make run` does not listen after {BUILD_SECONDS} s:\n{log_path.read_text()}")


def stop(process):
    """As Ctrl-C does: SIGINT to the group, which holds what `make run` started and nothing else."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_lines(lines, port, environment):
    """What each block printed."""
    mark = "==== end of block ===="
    script = "set -euo pipefail\n" + "".join(f"{block}\nprintf '\\n%s\\n' '{mark}'\n" for block, _ in lines)
    script = script.replace(f"127.0.0.1:{PORT}", f"127.0.0.1:{port}")
    done = subprocess.run(
        ["bash", "-c", script], cwd=COPY, env=environment, capture_output=True, text=True, timeout=LINES_SECONDS
    )
    printed = [part.replace("\r", "").strip() for part in done.stdout.split(mark)[:-1]]
    if done.returncode != 0 or len(printed) != len(lines):
        block = lines[min(len(printed), len(lines) - 1)][0]
        sys.exit(f"readme: exit status {done.returncode} at:\n{block}\n\n{done.stdout}\n{done.stderr}")
    return printed


def main():
    found = [block for page in PAGES for block in blocks((ROOT / page).read_text(encoding="utf-8"))]
    others = [page.name for page in ROOT.glob("docs/*.md") if f"docs/{page.name}" not in PAGES and blocks(page.read_text())]
    if others:
        sys.exit(f"readme: the `sh` blocks of {others} are not run; add the pages to PAGES")
    commands = [block for block, _ in found]
    for command in ("make run", "make test"):
        if commands.count(command) != 1:
            sys.exit(f"readme: there should be one `sh` block that is just: {command}")
    lines = [(block, output) for block, output in found if block not in ("make run", "make test")]
    if sum(output is not None for _, output in lines) < 3:
        sys.exit("readme: hardly any block has its output below it; is the format still the same?")

    copy_repository()
    (COPY / "target").symlink_to(ROOT / "target")  # where the lines look for the program
    port = free_port()
    if port != PORT:
        print(f"readme: port {PORT} is taken, so the lines run with {port} in its place")
    settings = ("WEBHOOK_INBOX_SETTINGS", "WEBHOOK_SECRET", "DATABASE_URL", "LISTEN_ADDR", "LOG_LEVEL", "MAKEFLAGS", "MAKELEVEL")
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    environment["CARGO_TARGET_DIR"] = str(ROOT / "target")
    if port != PORT:
        environment["LISTEN_ADDR"] = f"127.0.0.1:{port}"

    log_path = COPY.with_suffix(".log")
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            ["make", "run"], cwd=COPY, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for_service(process, log_path)
        printed = run_lines(lines, port, environment)
    finally:
        stop(process)

    wrong = 0
    for (block, expected), output in zip(lines, printed):
        if expected is not None and not matches(output, expected):
            wrong += 1
            print(f"readme: these lines\n{block}\n\nprint\n{output}\n\nand the page says\n{expected}\n")
    if wrong:
        sys.exit(f"readme: {wrong} of {len(lines)} blocks print something else")
    log = log_path.read_text()
    if "development-secret" not in log:
        sys.exit(f"readme: `make run` does not say which secret it uses:\n{log}")
    if '"message":"stopped"' not in log:
        sys.exit(f"readme: Ctrl-C does not stop the service in order:\n{log}")
    if not (COPY / "inbox.db").is_file():
        sys.exit("readme: there is no inbox.db in the current directory")
    shutil.rmtree(COPY)
    print(f"readme: {len(lines)} blocks ran, and {sum(e is not None for _, e in lines)} printed what the pages say")


if __name__ == "__main__":
    main()
