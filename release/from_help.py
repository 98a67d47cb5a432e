"""Writes the manual page and the completions for bash, zsh and fish, out of what the program's own --help prints.

Usage: python3 release/from_help.py BINARY DIRECTORY

So neither can name an option that is not there, or miss one that is. In DIRECTORY: man/webhook-inbox.1,
completions/webhook-inbox.bash, completions/_webhook-inbox for zsh, and completions/webhook-inbox.fish.
"""

import pathlib
import re
import subprocess
import sys
import textwrap

PROGRAM = "webhook-inbox"
EVERYWHERE = [("-h, --help", "print this help"), ("-V, --version", "print the version")]


def printed(binary, *arguments):
    return subprocess.run([binary, *arguments], check=True, capture_output=True, text=True, timeout=20).stdout


class Option:
    """An option as a help text has it: its names, the word for its value, what it means, and what it may be."""

    def __init__(self, term, meaning):
        words = term.replace(",", "").split()
        self.names = [word for word in words if word.startswith("-")]
        self.value = next((word for word in words if not word.startswith("-")), None)
        self.short = re.split(r"[;:(]|, such as", meaning)[0].strip()
        choices = re.match(r"[a-z]+(, [a-z]+)* or [a-z]+", meaning)
        self.choices = re.split(r", | or ", choices.group()) if choices and self.value else []
        self.is_file = self.value == "FILE"


class Help:
    """One help text, in blocks: usage, items such as options, and paragraphs."""

    def __init__(self, text):
        title, *self.blocks = text.rstrip().split("\n\n")
        self.name, self.summary = re.fullmatch(rf"{PROGRAM} ?(\w*): (.*)", title).groups()
        items = [item for block in self.blocks for item in items_of(block) or []]
        self.options = [Option(*item) for item in [i for i in items if i[0].startswith("-")] + EVERYWHERE]
        # Not the FILE of `> FILE`, which the shell completes by itself.
        self.takes_file = bool(re.search(r"(?<!> )\bFILE\b", self.blocks[0]))


def items_of(block):
    """The items of a block, each with its meaning; None for a paragraph. Further lines of an item are indented more."""
    lines = block.split("\n")
    if not lines[0].startswith("  ") or lines[0].startswith(f"  {PROGRAM} "):
        return None
    items = []
    for line in lines:
        if re.match(r"  \S", line):
            term, _, meaning = line.strip().partition("  ")
            items.append([term, meaning.strip()])
        else:
            items[-1][1] = f"{items[-1][1]} {line.strip()}".strip()
    return [(term, re.sub(r"  +", " ", meaning)) for term, meaning in items]


# The manual page.


def roff(text):
    """Text as it is: a backslash, a hyphen and a dot or quote at the beginning mean something to roff."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^(?=[.'])", r"\\&", text, flags=re.MULTILINE)


def example(lines):
    return ["", ".EX", *[roff(line) for line in lines], ".EE"]


def page_block(block):
    """The lines of a block on the manual page."""
    items = items_of(block)
    if items:
        return [line for term, meaning in items for line in (".TP", f".B {roff(term)}", roff(meaning))]
    if block.startswith("Usage: "):
        return example(textwrap.dedent(block.replace("Usage:", "      ", 1)).split("\n"))
    lines = block.split("\n")
    code = [line for line in lines if line.startswith("  ")]
    page = [".PP", *[roff(line) for line in lines if not line.startswith("  ")]]
    return page + (example(textwrap.dedent("\n".join(code)).split("\n")) if code else [])


def manual(version, general, helps):
    # Neither hyphenated nor justified: an option or a path that is cut in two cannot be copied.
    page = [f'.TH WEBHOOK\\-INBOX 1 "" "{version}" "User Commands"', ".nh", ".ad l", ".SH NAME",
            f"{roff(PROGRAM)} \\- {roff(general.summary)}", ".SH SYNOPSIS", *page_block(general.blocks[0]),
            ".SH DESCRIPTION", "Without a command, or with", ".BR serve ,", "it runs the service.",
            "The commands look at it, and at its database.", ".SH OPTIONS"]
    page += [line for term, meaning in EVERYWHERE for line in (".TP", f".B {roff(term)}", roff(meaning))]
    page.append(".SH COMMANDS")
    for help in helps:
        page += [f'.SS "{help.name}: {roff(help.summary)}"', *[line for b in help.blocks for line in page_block(b)]]
    page += [".SH EXIT STATUS", roff(general.blocks[-1].removeprefix("Exit status: ")), ".SH FILES"]
    for path, meaning in [("/etc/webhook-inbox/webhook-inbox.env", "the settings"),
                          ("/etc/webhook-inbox/secret", "the secret that senders sign with"),
                          ("/var/lib/webhook-inbox/inbox.db", "the messages")]:
        page += [".TP", f".I {roff(path)}", meaning]
    return "\n".join(page) + "\n"


# The completions.


BASH = """\
# Completions of webhook-inbox for bash.
_webhook_inbox_words() {
    mapfile -t COMPREPLY < <(compgen -W "$*" -- "${COMP_WORDS[COMP_CWORD]}")
}
_webhook_inbox_files() {
    mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
}
_webhook_inbox() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=
    [ "$COMP_CWORD" -eq 1 ] || command=${COMP_WORDS[1]}
    COMPREPLY=()
    case "$command $before" in
%s
    esac
    case "$command" in
%s
        "") _webhook_inbox_words %s -h --help -V --version ;;
    esac
}
complete -o filenames -F _webhook_inbox webhook-inbox
"""


def bash(helps):
    values, commands = [], []
    for help in helps:
        for option in help.options:
            if option.value:
                pattern = "|".join(f'"{help.name} {name}"' for name in option.names)
                choices = f"_webhook_inbox_words {' '.join(option.choices)}; " if option.choices else ""
                action = "_webhook_inbox_files; " if option.is_file else choices
                values.append(f"        {pattern}) {action}return ;;")
        names = " ".join(name for option in help.options for name in option.names)
        action = f"_webhook_inbox_words {names}"
        if help.takes_file:
            action = f"if [[ $word = -* ]]; then {action}; else _webhook_inbox_files; fi"
        commands.append(f"        {help.name}) {action} ;;")
    return BASH % ("\n".join(values), "\n".join(commands), " ".join(help.name for help in helps))


def zsh_word(text):
    """A word in single quotes, in which brackets and colons mean nothing to _arguments."""
    return re.sub(r"([\[\]:])", r"\\\1", text).replace("'", r"'\''")


def zsh(helps):
    def spec(option):
        value = f":{option.value}:{'_files' if option.is_file else '(' + ' '.join(option.choices) + ')'}"
        meaning = f"'[{zsh_word(option.short)}]{value if option.value else ''}'"
        names = option.names
        return names[0] + meaning if len(names) == 1 else f"'({' '.join(names)})'{{{','.join(names)}}}{meaning}"

    cases = []
    for help in helps:
        specs = [spec(option) for option in help.options] + (["'*:FILE:_files'"] if help.takes_file else [])
        cases.append(" \\\n            ".join([f"        {help.name}) _arguments", *specs]) + " ;;")
    commands = [f"        '{help.name}:{zsh_word(help.summary)}'" for help in helps]
    general = [spec(Option(*item)) for item in EVERYWHERE]
    return "\n".join([
        f"#compdef {PROGRAM}",
        "local curcontext=$curcontext state line",
        "local -a commands=(",
        *commands,
        ")",
        f"_arguments -C {' '.join(general)} '1: :->command' '*:: :->rest'",
        "case $state in",
        "    command) _describe command commands ;;",
        "    rest) case $line[1] in",
        *cases,
        "    esac ;;",
        "esac",
    ]) + "\n"


def fish(helps):
    def quoted(text):
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    lines = [f"# Completions of {PROGRAM} for fish.", f"complete -c {PROGRAM} -f"]
    for help in helps:
        lines.append(f"complete -c {PROGRAM} -n __fish_use_subcommand -a {help.name} -d {quoted(help.summary)}")
    for help in helps:
        seen = f"complete -c {PROGRAM} -n '__fish_seen_subcommand_from {help.name}'"
        for option in help.options:
            names = " ".join(f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in option.names)
            value = (" -r -F" if option.is_file else " -x") if option.value else ""
            choices = f" -a {quoted(' '.join(option.choices))}" if option.choices else ""
            lines.append(f"{seen} {names}{value}{choices} -d {quoted(option.short)}")
        if help.takes_file:
            lines.append(f"{seen} -F")
    return "\n".join(lines) + "\n"


def main(binary, directory):
    directory = pathlib.Path(directory)
    text = printed(binary, "--help")
    general = Help(text)
    listed = re.findall(r"^  ([a-z]+)  ", text, re.MULTILINE)
    helps = [Help(printed(binary, name, "--help")) for name in ["serve", *listed]]
    version = printed(binary, "--version").split(" (")[0]
    for path, text in [("man/webhook-inbox.1", manual(version, general, helps)),
                       ("completions/webhook-inbox.bash", bash(helps)),
                       ("completions/_webhook-inbox", zsh(helps)),
                       ("completions/webhook-inbox.fish", fish(helps))]:
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
