"""The flags of the Go netpunch, for those who come from there: refused, with our spelling.

They are not taken silently: a secret on a command line is visible to everyone on the host in
`ps`, and the control's or peer's role is a command here, not a flag.
"""

from typing import NamedTuple

from netpunch.errors import UsageError

NOT_ON_THE_COMMAND_LINE = (
    "a secret as an argument is visible to everyone on this host: "
    "put it into a file of mode 0600 and give --secret-file FILE"
)
NAME_A_COMMAND = (
    "name a command: `netpunch control --secret-file F --local :7777` or "
    "`netpunch peer a --secret-file F --local :5000 --remote HOST:7777`"
)
SPELLINGS = {
    "peer": "use `netpunch peer SLOT ...`",
    "secret-file": "use --secret-file FILE",
    "local": "use --local ADDRESS:PORT",
    "remote": "use --remote HOST:PORT",
    "template": "use --template TEXT, with {rhost} for {{.RemoteIP}} and so on",
    "template-file": "use --template-file FILE, with {rhost} for {{.RemoteIP}} and so on",
    "silent": "use --silent",
    "raw-logging": "use --raw-logging",
    "version": "use --version",
}
END = "--command"
"""What follows belongs to another program."""


def refuse(options: list[str], arguments: list[str]) -> None:
    """Raise UsageError if the words before the command, `options`, or its `arguments` are
    spelled as the Go netpunch takes them. Never repeats a value: it may be the secret."""
    if END in arguments:
        arguments = arguments[: arguments.index(END)]
    if any(flag(word).name == "secret" for word in (*options, *arguments)):
        raise UsageError(NOT_ON_THE_COMMAND_LINE)
    if any(flag(word).name in SPELLINGS.keys() - {"version"} for word in options):
        raise UsageError(NAME_A_COMMAND)
    for dashes, name in map(flag, (*options, *arguments)):
        if name in SPELLINGS and (dashes == "-" or name == "peer"):
            raise UsageError(f"{dashes}{name} is the Go netpunch's: {SPELLINGS[name]}")


class Flag(NamedTuple):
    """A flag as spelled; both empty for a word that is none."""

    dashes: str
    name: str


def flag(word: str) -> Flag:
    name = word.lstrip("-")
    dashes = word[: len(word) - len(name)]
    return Flag(dashes, name.partition("=")[0]) if dashes else Flag("", "")
