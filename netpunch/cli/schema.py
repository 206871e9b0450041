"""`netpunch schema`: the JSON schema of site files, for editors."""

from __future__ import annotations

import argparse
from pathlib import Path

from netpunch.cli.arguments import Parser
from netpunch.cli.streams import write_line

SCHEMA_FILE_MODE = 0o644

DESCRIPTION = """\
Print the JSON schema of site files. With it an editor completes keys, shows
what they mean and marks mistakes while you type. `netpunch check` knows more:
it also sees what contradicts each other.
"""
EPILOG = """\
Editors with the YAML language server (VS Code, Neovim, Emacs, Helix and others)
look for this comment at the top of a site file:
  # yaml-language-server: $schema=netpunch.schema.json

examples:
  netpunch schema -o netpunch.schema.json
"""


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog, DESCRIPTION, EPILOG)
    parser.add_argument(
        "--included", action="store_true", help="of the files that a site file includes"
    )
    parser.add_argument(
        "-o", metavar="FILE", dest="output", help="write it to a file, or replace that one"
    )
    return parser.parse_args(arguments)


def execute(options: argparse.Namespace) -> int:
    import json

    from netpunch.config.display import json_schema

    text = json.dumps(json_schema(included=options.included), indent=2) + "\n"
    if options.output is None:
        write_line(text)
    else:
        from netpunch.output.atomic import replace_file

        replace_file(Path(options.output), text.encode(), SCHEMA_FILE_MODE)
    return 0
