"""The commands, options and arguments of netpunch, read off the parsers that read them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

from netpunch.cli.arguments import DESCRIBE, Described

FILES = {"FILE", "EVENTS", "PATH", "SITE", "DIR"}
"""Names of values that are paths."""
NAMES = {"P": "pairs", "N": "nodes"}
"""Names of values that a site file lists, and what they are."""


class Value(NamedTuple):
    """What an option or a position takes: one of `choices`, a path, or any text."""

    name: str
    choices: tuple[str, ...] = ()
    optional: bool = False
    many: bool = False

    @property
    def is_path(self) -> bool:
        return self.name in FILES

    @property
    def listed(self) -> str | None:
        """`pairs` or `nodes`, if it is one of those of a site file."""
        return NAMES.get(self.name)


class Option(NamedTuple):
    flags: tuple[str, ...]
    help: str
    value: Value | None = None
    repeatable: bool = False


class Command(NamedTuple):
    """One command, or one action of it. `path`: its words after `netpunch`."""

    path: tuple[str, ...]
    summary: str
    description: str
    epilog: str
    options: tuple[Option, ...]
    positions: tuple[Value, ...]
    actions: tuple[Command, ...] = ()

    def all(self) -> Iterator[Command]:
        """It and its actions."""
        yield self
        for action in self.actions:
            yield from action.all()


def program() -> Command:
    """The whole program; its actions are the commands."""
    from netpunch.cli import COMMANDS, load, top_level_parser

    commands = tuple(
        _command((name,), summary, _parser_of(load(name).parse, name))
        for name, summary in COMMANDS.items()
    )
    return _command((), "", top_level_parser())._replace(actions=commands)


def _parser_of(parse: object, name: str) -> argparse.ArgumentParser:
    assert callable(parse)
    try:
        parse(f"netpunch {name}", DESCRIBE)
    except Described as described:
        return described.parser
    raise AssertionError(f"{name} has no parser")


def _command(path: tuple[str, ...], summary: str, parser: argparse.ArgumentParser) -> Command:
    options: list[Option] = []
    positions: list[Value] = []
    actions: list[Command] = []
    for action in parser._actions:
        if action.help == argparse.SUPPRESS:
            continue
        if isinstance(action, argparse._SubParsersAction):
            summaries = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, its_parser in action.choices.items():
                actions.append(_command((*path, name), summaries.get(name, ""), its_parser))
        elif action.option_strings:
            options.append(_option(action))
        else:
            positions.append(_value(action))
    description, epilog = parser.description or "", parser.epilog or ""
    return Command(
        path, summary, description, epilog, tuple(options), tuple(positions), tuple(actions)
    )


def _option(action: argparse.Action) -> Option:
    takes = action.nargs != 0
    return Option(
        tuple(action.option_strings),
        (action.help or "") % {"default": action.default}
        if "%" in (action.help or "")
        else (action.help or ""),
        _value(action) if takes else None,
        isinstance(action, argparse._AppendAction),
    )


def _value(action: argparse.Action) -> Value:
    name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    choices = tuple(map(str, action.choices or ()))
    optional = action.nargs in ("?", "*")
    return Value(name, choices, optional, action.nargs in ("*", "+", argparse.REMAINDER))
