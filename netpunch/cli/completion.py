"""`netpunch completion SHELL`: what bash, zsh and fish need to complete command lines."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from netpunch.cli.arguments import Parser
from netpunch.cli.streams import write_output
from netpunch.errors import NetpunchError

if TYPE_CHECKING:
    from netpunch.cli.grammar import Command, Option, Value

DESCRIPTION = """\
Print what a shell needs to complete netpunch's commands, options, files, and
the pairs and nodes of the site file on the line (else of the usual one).
"""
EPILOG = """\
Where it belongs:
  bash  /usr/share/bash-completion/completions/netpunch, or
        ~/.local/share/bash-completion/completions/netpunch
  zsh   a file named _netpunch in a folder of $fpath
  fish  /usr/share/fish/vendor_completions.d/netpunch.fish, or
        ~/.config/fish/completions/netpunch.fish

examples:
  netpunch completion fish > ~/.config/fish/completions/netpunch.fish
"""


NAMES_OPTION = "--names"
"""Followed by `pairs` or `nodes` and the words of a command line: for the shells."""
MOST_NAMES = 1000


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    if arguments[:1] == [NAMES_OPTION] and arguments[1:2] in (["pairs"], ["nodes"]):
        # Its words are no options of ours.
        return argparse.Namespace(names=arguments[1], words=arguments[2:])
    parser = Parser(prog, DESCRIPTION, EPILOG)
    parser.add_argument("shell", metavar="SHELL", choices=tuple(SHELLS), help="bash, zsh or fish")
    return parser.parse_args(arguments)


def execute(options: argparse.Namespace) -> int:
    if "names" in options:
        write_output("".join(f"{name}\n" for name in site_names(options.names, options.words)))
        return 0
    from netpunch.cli.grammar import program

    write_output("".join(f"{line}\n" for line in SHELLS[options.shell](program())))
    return 0


def site_names(kind: str, words: Sequence[str]) -> list[str]:
    """The pairs and meshes, or the nodes, of the site file among the words of a command line. None
    of a file that is wrong: what a shell gets has no character that could mean anything to it."""
    from netpunch.cli.doctor import SUFFIXES, USUAL_FILES
    from netpunch.config.loading import load, node_names

    on_line = [Path(word) for word in words if word.endswith(SUFFIXES)]
    try:
        files = (file.expanduser() for file in (*on_line, *USUAL_FILES))
        site = load(next(file for file in files if file.is_file()))
    except (StopIteration, NetpunchError, OSError, RuntimeError):  # no file, or no such home
        return []
    if kind == "nodes":
        return node_names(site)[:MOST_NAMES]
    return list(dict.fromkeys(pair.secret.mesh or pair.name for pair in site.pairs))[:MOST_NAMES]


def _flags(command: Command) -> list[str]:
    return [flag for option in command.options for flag in option.flags]


def _words(command: Command) -> list[str]:
    """What may stand in its positions, besides paths."""
    return [
        *(action.path[-1] for action in command.actions),
        *(choice for position in command.positions for choice in position.choices),
    ]


# bash.

BASH_HEAD = """\
# Completions of netpunch for bash, made by `netpunch completion bash`.
_netpunch_names() {
  command netpunch completion --names "$1" "${COMP_WORDS[@]:1}" 2>/dev/null
}
_netpunch() {
  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
  local path=netpunch word words= files=
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$path $word" in"""
BASH_VALUES = """\
    esac
  done
  case "$path $previous" in"""
BASH_WORDS = """\
    *)
      case "$path" in"""
BASH_TAIL = """\
      esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [ -n "$files" ]; then
    compopt -o filenames 2>/dev/null
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$current")
  fi
}
complete -F _netpunch netpunch"""


def bash(program: Command) -> Iterator[str]:
    commands = list(program.all())
    yield BASH_HEAD
    for command in commands[1:]:
        yield f'      "{_path(command)}") path="$path $word" ;;'
    yield BASH_VALUES
    for command in commands:
        for option in command.options:
            if option.value is not None and not option.value.optional:
                patterns = "|".join(f'"{_path(command)} {flag}"' for flag in option.flags)
                yield f"    {patterns}) {_bash_value(option.value)} ;;"
    yield BASH_WORDS
    for command in commands:
        files = " files=1" if any(value.is_path for value in command.positions) else ""
        words = " ".join(_words(command))
        flags = " ".join(_flags(command))
        yield (
            f'        "{_path(command)}") case "$current" in -*) words="{flags}" ;; '
            f'*) words="{words}"{files} ;; esac ;;'
        )
    yield BASH_TAIL


def _bash_value(value: Value) -> str:
    if value.choices:
        return f'words="{" ".join(value.choices)}"'
    if value.listed:
        return f"words=$(_netpunch_names {value.listed})"
    return "files=1" if value.is_path else ":"


def _path(command: Command) -> str:
    return " ".join(["netpunch", *command.path])


# zsh.


ZSH_NAMES = """\
_netpunch_names() {
  local -a names
  names=(${(f)"$(command netpunch completion --names "${@[-1]}" ${(Q)words} 2>/dev/null)"})
  compadd "${@[1,-2]}" -a names
}"""
"""_arguments puts its own options for compadd in front of ours."""


def zsh(program: Command) -> Iterator[str]:
    yield "#compdef netpunch"
    yield "# Completions of netpunch for zsh, made by `netpunch completion zsh`."
    for command in program.all():
        yield f"{_function(command)}() {{"
        yield "  local curcontext=$curcontext state line"
        yield "  local -a actions"
        specs = [_quoted(spec) for option in command.options for spec in _zsh_option(option)]
        if command.actions:
            specs += ["'1: :->action'", "'*:: :->argument'"]
        else:
            specs += [_quoted(_zsh_position(value)) for value in command.positions]
        yield "  _arguments -C \\"
        yield from (f"    {spec} \\" for spec in specs)
        yield "    && return"
        if command.actions:
            names = " ".join(
                _quoted(f"{action.path[-1]}:{action.summary.replace(':', chr(92) + ':')}")
                for action in command.actions
            )
            yield "  case $state in"
            yield f"    action) actions=({names}); _describe command actions ;;"
            yield "    argument) case $line[1] in"
            for action in command.actions:
                yield f"      {action.path[-1]}) {_function(action)} ;;"
            yield "    esac ;;"
            yield "  esac"
        yield "}"
    yield ZSH_NAMES
    yield '_netpunch "$@"'


def _function(command: Command) -> str:
    return "_".join(["_netpunch", *command.path])


def _zsh_option(option: Option) -> Iterator[str]:
    others = "" if option.repeatable else f"({' '.join(option.flags)})"
    star = "*" if option.repeatable else ""
    about = _escaped(option.help)
    for flag in option.flags:
        if option.value is None:
            yield f"{others}{star}{flag}[{about}]"
        else:
            colon = "::" if option.value.optional else ":"
            yield f"{others}{star}{flag}[{about}]{colon}{_zsh_value(option.value)}"


def _zsh_position(value: Value) -> str:
    where = "*:" if value.many else "::" if value.optional else ":"
    return f"{where}{_zsh_value(value)}"


def _zsh_value(value: Value) -> str:
    if value.choices:
        return f"{value.name}:({' '.join(value.choices)})"
    if value.listed:
        return f"{value.name}:_netpunch_names {value.listed}"
    return f"{value.name}:{'_files' if value.is_path else ' '}"


def _escaped(text: str) -> str:
    for character in "\\[]:":
        text = text.replace(character, f"\\{character}")
    return text


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# fish.


FISH_NAMES = """\
function __netpunch_names
  command netpunch completion --names $argv[1] (commandline -opc) 2>/dev/null
end"""


def fish(program: Command) -> Iterator[str]:
    yield "# Completions of netpunch for fish, made by `netpunch completion fish`."
    yield FISH_NAMES
    yield "complete -c netpunch -f"
    for command in program.all():
        here = _fish_condition(command)
        for action in command.actions:
            yield f"{here} -a {action.path[-1]} -d {_fish_quoted(action.summary)}"
        for option in command.options:
            yield f"{here} {_fish_option(option)}"
        for value in command.positions:
            if value.choices:
                yield f"{here} -a {_fish_quoted(' '.join(value.choices))}"
            if value.is_path:
                yield f"{here} -F"


def _fish_condition(command: Command) -> str:
    """Where the words so far are those of the command, and of none of its actions."""
    seen = [f"__fish_seen_subcommand_from {word}" for word in command.path]
    if command.actions:
        names = " ".join(action.path[-1] for action in command.actions)
        seen.append(f"not __fish_seen_subcommand_from {names}")
    return f"complete -c netpunch -n {_fish_quoted('; and '.join(seen))}"


def _fish_option(option: Option) -> str:
    parts = []
    for flag in option.flags:
        kind = "-l" if flag.startswith("--") else "-s"
        parts.append(f"{kind} {flag.lstrip('-')}")
    if (value := option.value) is not None and not value.optional:
        parts.append("-r")
        if value.choices:
            parts.append(f"-f -a {_fish_quoted(' '.join(value.choices))}")
        elif value.listed:
            parts.append(f"-f -a '(__netpunch_names {value.listed})'")
        else:
            parts.append("-F" if value.is_path else "-f")
    return " ".join([*parts, f"-d {_fish_quoted(option.help)}"])


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS: dict[str, Callable[[Command], Iterator[str]]] = {"bash": bash, "zsh": zsh, "fish": fish}
