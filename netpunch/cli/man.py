"""`netpunch man`: the manual page, netpunch(1), for packages."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from netpunch.cli.arguments import Parser
from netpunch.cli.streams import write_output

if TYPE_CHECKING:
    from netpunch.cli.grammar import Command, Option, Value

DESCRIPTION = """\
Print the manual page of netpunch, as man(1) reads it.
"""
EPILOG = """\
examples:
  netpunch man > netpunch.1; man ./netpunch.1
"""
COMMON = {"-h", "--debug"}
"""Options of every command."""
FILES = (
    ("/etc/netpunch/site.yaml", "the site file that the systemd units run"),
    ("/etc/netpunch/keys/", "the keys of pairs, mode 0600"),
    ("/run/netpunch*/", "status sockets and env files of running processes"),
)
ENVIRONMENT = (
    ("NETPUNCH_NODE", "the name of this node, unless --node sets it"),
    ("NO_COLOR", "if not empty, terminals get no colour"),
    ("COLUMNS", "width of tables, instead of the terminal's"),
)


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    return Parser(prog, DESCRIPTION, EPILOG).parse_args(arguments)


def execute(_: argparse.Namespace) -> int:
    from netpunch.cli.grammar import program

    write_output("".join(f"{line}\n" for line in page(program())))
    return 0


def page(program: Command) -> Iterator[str]:
    from netpunch._version import __version__
    from netpunch.errors import EXIT_CODES

    yield f'.TH NETPUNCH 1 "" "netpunch {__version__}" "User Commands"'
    yield ".nh"  # a hyphen in an option would be taken for a part of it
    yield ".SH NAME"
    yield "netpunch \\- link hosts behind NATs by UDP hole punching"
    yield ".SH SYNOPSIS"
    yield ".B netpunch"
    yield "[\\-\\-debug] COMMAND ..."
    yield ".br"
    yield ".B netpunch"
    yield "\\-\\-version"
    yield ".SH DESCRIPTION"
    yield from _paragraphs(program.description.partition("\ncommands (")[0])
    yield ".PP"
    yield "Every command has \\-\\-help, and \\-\\-debug, which shows tracebacks of errors."
    yield ".SH COMMANDS"
    for command in program.actions:
        for each in command.all():
            yield from _command(each)
    yield ".SH EXIT STATUS"
    yield from _list((str(code), meaning) for code, meaning in sorted(EXIT_CODES.items()))
    yield ".SH ENVIRONMENT"
    yield from _list(ENVIRONMENT)
    yield ".SH FILES"
    yield from _list(FILES)
    yield ".SH EXAMPLES"
    yield from _example(program.epilog)


def _command(command: Command) -> Iterator[str]:
    options = [option for option in command.options if not COMMON & {*option.flags}]
    usage = [_usage(option) for option in options]
    usage += [_position(value) for value in command.positions]
    if command.actions:
        usage.append("ACTION ...")
    yield f".SS {_roff(' '.join(['netpunch', *command.path, *usage]))}"
    yield from _paragraphs(command.description)
    for option in options:
        value = "" if option.value is None else f" {_roff(_value(option.value))}"
        yield ".TP"
        yield f".B {_roff(', '.join(option.flags))}{value}"
        yield _roff(option.help)
    yield from _example(command.epilog)


def _usage(option: Option) -> str:
    value = "" if option.value is None else f" {_value(option.value)}"
    return f"[{option.flags[0]}{value}]"


def _value(value: Value) -> str:
    name = "|".join(value.choices) or value.name
    return f"[{name}]" if value.optional else name


def _position(value: Value) -> str:
    return f"{_value(value)}{' ...' if value.many else ''}"


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.strip().split("\n\n")):
        if number:
            yield ".PP"
        yield from (_roff(line) for line in paragraph.splitlines())


def _example(epilog: str) -> Iterator[str]:
    """The end of a help text, without the exit codes, as it stands."""
    text = epilog.partition("\nexit codes:")[0].rstrip()
    if text:
        yield from (".PP", ".nf", *(_roff(line) for line in text.splitlines()), ".fi")


def _list(entries: Iterator[tuple[str, str]] | tuple[tuple[str, str], ...]) -> Iterator[str]:
    for name, meaning in entries:
        yield from (".TP", f".B {_roff(name)}", _roff(meaning))


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
