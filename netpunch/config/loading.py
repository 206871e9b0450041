"""A site file to a `Site`: read, parsed, built, checked."""

from __future__ import annotations

import codecs
import os
import stat
from pathlib import Path

from netpunch.config.context import Context
from netpunch.config.controls import build_controls
from netpunch.config.keys import SITE
from netpunch.config.model import Pair, Position, Site
from netpunch.config.pairs import build_pair
from netpunch.config.paths import beside
from netpunch.config.problems import Abandoned, Problems
from netpunch.config.rules import Drafts, check_own_node, check_site
from netpunch.config.schema import BROKEN, Cursor, Rejected, Settings
from netpunch.config.source import MAX_LINES, Source, position_of
from netpunch.errors import MissingFileError, PermissionsError, lack_behind
from netpunch.template import render

MAX_FILE = 1024 * 1024
"""Bytes. A site of 1,000 pairs has a fifth of it."""


def load(path: Path) -> Site:
    """The site that a file describes. Opens no other file, so it loads on every host alike.

    Raises SiteError (a ConfigurationError) with all that is wrong, MissingFileError,
    PermissionsError, ResourcesError."""
    from netpunch.config.composer import compose  # here: what needs no YAML starts without it

    data, is_public = _read(path)
    data = data.removeprefix(codecs.BOM_UTF8)
    source = Source(str(path), data.decode("utf-8", "replace"))
    problems = Problems(source)
    try:
        root = compose(_text(data, problems), problems)
        settings = SITE(Cursor(root, "", root.start, problems))
        drafts = _drafts(path, settings, problems)
        check_site(drafts, problems)
        check_own_node(drafts, settings.get("node"), problems)
    except (Abandoned, Rejected):
        raise problems.error() from None
    if len(problems):
        raise problems.error()
    return _site(drafts, settings, source, is_public=is_public)


def _read(path: Path) -> tuple[bytes, bool]:
    """The file's beginning, a little more than is allowed, and whether others may read it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            return file.read(MAX_FILE + 1), bool(mode & stat.S_IROTH)
    except PermissionError:
        raise PermissionsError(f"{path}: not readable for this user") from None
    except OSError as error:
        if lack := lack_behind(error, str(path)):
            raise lack from None
        raise MissingFileError(f"{path}: {error.strerror}") from None


def _text(data: bytes, problems: Problems) -> str:
    begin = Position(1, 1)
    if len(data) > MAX_FILE:
        problems.add(begin, "", f"longer than {MAX_FILE // 1024} KiB: too much for one site")
        raise Abandoned
    if problems.source.is_cut:
        message = f"more than {MAX_LINES:,} lines: too much for one site"
        problems.add(Position(MAX_LINES + 1, 1), "", message)
        raise Abandoned
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        text = data[: error.start].decode()
        problems.add(position_of(text, len(text)), "", "not UTF-8: save it in that encoding")
        raise Abandoned from None


def _drafts(path: Path, settings: Settings, problems: Problems) -> Drafts:
    """Every part that can be built. What is wrong in one doesn't hide what is in another."""
    controls = build_controls(settings["control"].value, problems)
    found_pairs = settings["pairs"].value
    defaults = settings["defaults"].value if "defaults" in settings else {}
    context = Context(
        directory=path.absolute().parent,
        defaults=defaults,
        controls=None if controls is None else {c.part.name: c.part.at for c in controls},
        control_nodes=frozenset(each.part.node for each in controls or () if each.part.node),
        problems=problems,
    )
    if BROKEN in (found_pairs, defaults):
        return Drafts(path, controls or [], (), complete=False)
    pairs = [build_pair(name, found, context) for name, found in found_pairs.items()]
    built = tuple(pair for pair in pairs if pair is not None)
    complete = controls is not None and len(built) == len(pairs)
    return Drafts(path, controls or [], built, complete)


def _site(drafts: Drafts, settings: Settings, source: Source, *, is_public: bool) -> Site:
    directory = drafts.path.absolute().parent
    metrics = settings["metrics"].value if "metrics" in settings else {}
    pairs = tuple(draft.pair for draft in drafts.pairs)
    return Site(
        path=drafts.path,
        node=settings["node"].value if "node" in settings else None,
        controls=tuple(draft.part for draft in drafts.controls),
        pairs=pairs,
        status=_plain_path(directory, settings, "status"),
        metrics_textfile=_plain_path(directory, metrics, "textfile"),
        source=source.text(),
        warnings=_warnings(drafts.path, pairs) if is_public else (),
    )


def _plain_path(directory: Path, settings: Settings, key: str) -> Path | None:
    if key not in settings:
        return None
    return Path(beside(directory, render(settings[key].value, {})))


def _warnings(path: Path, pairs: tuple[Pair, ...]) -> tuple[str, ...]:
    """For a file that others may read."""
    sources = [source for pair in pairs for source in (pair.secret, pair.a.secret, pair.b.secret)]
    if not any(source.kind == "inline" for source in sources):
        return ()
    return (f"{path}: warning: holds secrets and others can read it: `chmod 600 {path}`",)
