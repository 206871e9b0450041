"""`netpunch check FILE...`: validates without asking any control."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from netpunch.cli.console import put_line, tell
from netpunch.cli.parser import EXIT_CODES, Parser
from netpunch.errors import ConfigurationError, NetpunchError, combined_exit_code

if TYPE_CHECKING:
    from netpunch.config.model import End, Pair, Part, Site
    from netpunch.config.problems import Problem
    from netpunch.config.secrets import Role

DESCRIPTION = """\
Validate site files without asking any control: every error at once, each with
its file, line and column. Only the secrets that this node needs are opened; of
those, a `credential` only in its systemd service or with --credentials. Warn if
the route to a control leads into a VPN's tunnel of this host.
"""
EPILOG = f"""\
examples:
  netpunch check site.yaml
  netpunch check site.yaml --node office --show
  netpunch check --credentials /etc/netpunch/keys /etc/netpunch/site.yaml

{EXIT_CODES}"""

MAX_NAMES = 5
"""Of credentials in one line: enough to recognise them."""

SECRET_KEYS = {"file": "secret_file", "credential": "credential", "inline": "secret"}


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog, DESCRIPTION, EPILOG)
    add = parser.add_argument
    add("files", metavar="FILE", nargs="+", help="a site file")
    add("--show", action="store_true", help="print what is in effect, secrets redacted")
    add("--node", metavar="N", help="check as node N would run it")
    add("--credentials", metavar="DIR", type=Path, help="the folder in the unit's LoadCredential=")
    return parser.parse_args(arguments)


def execute(options: argparse.Namespace) -> int:
    return combined_exit_code([check(file, options) for file in options.files])


def check(file: str, options: argparse.Namespace) -> int:
    """One file; whatever is wrong with it goes to standard error. Returns its exit code."""
    from netpunch.config import load

    try:
        site = load(Path(file))
        for warning in site.warnings:
            tell(warning)
        part = select_part(site, options.node)
        code = check_secrets(site, part, options.credentials)
    except NetpunchError as error:
        tell(str(error))
        return error.exit_code
    if code == 0:
        from netpunch.cli.check_routes import route_warnings
        from netpunch.config.problems import gathered
        from netpunch.config.unused import unused_links

        for warning in (*gathered(unused_links(site, part.ends)), *route_warnings(site, part)):
            tell(warning)
        report(site, part, show=options.show)
    return code


def select_part(site: Site, node: str | None) -> Part:
    """Raises ConfigurationError if no part is for this node: the file as such is valid then."""
    from socket import gethostname

    from netpunch.config import SiteError, select

    try:
        return select(site, node, gethostname(), os.environ.get("NETPUNCH_NODE"))
    except SiteError:
        raise
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}\n{site.path}: valid otherwise") from None


def check_secrets(site: Site, part: Part, credentials: Path | None) -> int:
    """Open what this node needs and can be opened here, telling each complaint once: a control
    and an end may share theirs. Returns the exit code."""
    from netpunch.config.problems import gathered
    from netpunch.config.secrets import read_secret

    warnings: list[Problem] = []
    complaints: dict[str, int] = {}
    not_opened: list[str] = []
    can_open_credentials = credentials or os.environ.get("CREDENTIALS_DIRECTORY")
    for owner, pair, role in secrets_needed(site, part):
        if owner.secret.kind == "credential" and not can_open_credentials:
            not_opened.append(owner.secret.path)
            continue
        try:
            secret = read_secret(
                owner.secret,
                owner.protocol,
                site=site,
                key=f"pairs.{pair}.{SECRET_KEYS.get(owner.secret.kind, '')}",
                role=role,
                environ=os.environ,
                credentials=credentials,
            )
            warnings += secret.warnings
        except NetpunchError as error:
            complaints[str(error)] = error.exit_code
    if not_opened:
        tell(_not_opened(site, list(dict.fromkeys(not_opened))))
    for complaint in (*gathered(warnings), *complaints):
        tell(complaint)
    return combined_exit_code(list(complaints.values()))


def _not_opened(site: Site, names: list[str]) -> str:
    shown = ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
    noun = count(len(names), "credential")
    return (
        f"{site.path}: warning: {noun} not checked ({shown}): only the systemd service can open "
        "them; `--credentials DIR` checks the files in the folder that its LoadCredential= names"
    )


def secrets_needed(site: Site, part: Part) -> Iterator[tuple[End | Pair, str, Role]]:
    """Whose secret, the pair's name and what for. A control next to an end of the same pair
    takes the end's key."""
    from netpunch.config import pairs_served

    own = {end.pair for end in part.ends}
    for end in part.ends:
        yield end, end.pair, "end"
    for control in part.controls:
        for pair in pairs_served(site, control):
            yield pair, pair.name, "end" if pair.name in own else "control"


def report(site: Site, part: Part, *, show: bool) -> None:
    """One line; with `show` a comment above the YAML, so that the output stays YAML."""
    summary = f"{site.path}: ok, {count(len(site.pairs), 'pair')}, {describe(part)}"
    if not show:
        put_line(summary)
        return
    from netpunch.config.display import show as effective

    put_line(f"---\n# {summary}\n{effective(part)}")


def describe(part: Part) -> str:
    where = "all in one process" if part.node is None else f"this node ({part.node})"
    controls = [f"control {control.name}" for control in part.controls]
    ends = ", ".join(f"{end.pair}.{end.end}" for end in part.ends)
    label = "end" if len(part.ends) == 1 else "ends"
    parts = [*controls, *([f"{label} {ends}"] if ends else [])]
    return f"{where}: {', '.join(parts) or 'nothing to run'}"


def count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
