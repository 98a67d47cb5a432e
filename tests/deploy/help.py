"""The manual page and the completions of a release, beside the help texts that they are made from.

Usage: python3 tests/deploy/help.py PATH_OF_THE_UNPACKED_RELEASE

Bash and fish complete for real, zsh checks the syntax, and groff renders the page. Seconds.
"""

import pathlib
import re
import subprocess
import sys

from support import check, check_equal

PROGRAM = "webhook-inbox"
OPTION = re.compile(r"(?<![\w-])--?[a-zA-Z][a-z-]*")


def run(*command):
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    check_equal((ran.returncode, ran.stderr), (0, ""), f"{command[0]} has nothing to say against it")
    return ran.stdout


def options(text):
    """What a help text names as an option, where it says how the command is used and what each one means."""
    usage = re.search(r"^Usage: .*?\n\n", text, re.MULTILINE | re.DOTALL).group()
    items = re.findall(r"^  (-.*?)(?:  |$)", text, re.MULTILINE)
    return set(OPTION.findall("\n".join([usage, *items]))) | {"-h", "--help", "-V", "--version"}


def bash(release, line):
    words = " ".join(f"'{word}'" for word in line)
    script = f"source {release}/completions/{PROGRAM}.bash; COMP_WORDS=({words}); COMP_CWORD={len(line) - 1}\n" \
        '_webhook_inbox; printf "%s\\n" "${COMPREPLY[@]}"'
    return run("bash", "-c", script).split()


def fish(release, line):
    script = f"source {release}/completions/{PROGRAM}.fish; complete -C '{' '.join(line)}'"
    return [proposal.split("\t")[0] for proposal in run("fish", "--no-config", "-c", script).splitlines()]


def main(release):
    binary = release / PROGRAM
    text = run(binary, "--help")
    commands = ["serve", *re.findall(r"^  ([a-z]+)  ", text, re.MULTILINE)]
    check(len(commands) > 10, "the help lists the commands", commands)
    run("zsh", "-n", release / f"completions/_{PROGRAM}")
    zsh = dict(re.findall(r"^ +([a-z]+)\) _arguments(.*?) ;;$", (release / f"completions/_{PROGRAM}").read_text(),
                          re.MULTILINE | re.DOTALL))
    page = run("groff", "-ww", "-man", "-Tutf8", "-Kutf8", "-P-c", "-P-b", "-P-o", "-P-u", release / f"man/{PROGRAM}.1")
    sections = {name: body for name, body in re.findall(r"^   ([a-z]+): (.*?)(?=^   [a-z]+: |^[A-Z])", page,
                                                       re.MULTILINE | re.DOTALL)}
    check(set(commands) <= set(bash(release, [PROGRAM, ""])), "bash completes the commands")
    check_equal(set(fish(release, [PROGRAM, ""])), set(commands), "fish completes the commands")
    for name in commands:
        help = run(binary, name, "--help")
        wanted = options(help)
        for shell in (bash, fish):
            found = {o for start in ("-", "--") for o in shell(release, [PROGRAM, name, start])}
            check_equal(found, wanted, f"{shell.__name__} completes the options of {name}")
        check_equal(set(OPTION.findall(re.sub(r"\[.*?\]", "", zsh[name]))), wanted, f"zsh has the options of {name}")
        on_page = set(OPTION.findall(sections[name])) | {"-h", "--help", "-V", "--version"}
        check(wanted <= on_page, f"the page has the options of {name}", wanted - on_page)
    for setting in re.findall(r"^  ([A-Z_]{4,}) \(", run(binary, "serve", "--help"), re.MULTILINE):
        check(f"       {setting} (" in page, f"the page has {setting}")
    for shell in (bash, fish):
        check_equal(set(shell(release, [PROGRAM, "sign", "--scheme", ""])), {"native", "standard", "meta"},
                    f"{shell.__name__} completes a value")
        check(f"{release}/LICENSE" in shell(release, [PROGRAM, "verify", f"{release}/LICEN"]),
              f"{shell.__name__} completes files")
    print(f"help: the manual page and three shells have {len(commands)} commands with all their options")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]).resolve())
