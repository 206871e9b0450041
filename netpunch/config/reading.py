"""A site file and the files that it includes, as Settings: read within bounds that hold for all of
them together, and each mistake recorded at its place."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from netpunch.config.document.problems import (
    FIRST,
    MAX_LINES,
    MAX_PROBLEMS,
    Abandoned,
    Position,
    Problems,
    Source,
    position_of,
)
from netpunch.config.files import read_regular
from netpunch.config.kinds import BROKEN, Cursor, Found, Kind, Rejected, Settings, is_whole
from netpunch.config.schema import INCLUDED, SITE
from netpunch.errors import MissingFileError, access_errors
from netpunch.template import render

MAX_FILE = 1024 * 1024
"""Bytes of a site file and all that it includes. A site of 1,000 pairs has a fifth of it."""

MAX_INCLUDED = 2500
"""Files: as many as the pairs that fit, each in one of its own."""

MAX_ENTRIES = 10 * MAX_INCLUDED
"""Of a folder, that are looked at: it may be one of a mail server by mistake."""

SUFFIXES = (".yaml", ".yml")
"""Of the files that a folder's name stands for."""

_WILDCARDS = "*?["
_CURE = "make it on this host, too, or correct its name"


class Reading:
    """What a site file and its included files say. `problems` has what is wrong with them."""

    def __init__(self, path: Path) -> None:
        """Reads the file itself. Raises MissingFileError, PermissionsError, ResourcesError."""
        from netpunch.config.document.composer import Events  # imports yaml, which not all need

        self._path = path
        self._events = Events()
        self._bytes = self._lines = 0
        self._data, is_public = _read(path)
        self._data = self._data.removeprefix(codecs.BOM_UTF8)
        self.problems = Problems(self._source(str(path), self._data))
        self.public = {""} if is_public else set[str]()
        """The files that others may read, as positions name them."""
        self.remarks: list[str] = []
        """Complete lines: what is allowed, but perhaps a mistake."""

    def settings(self) -> Settings:
        """All of it; a value that is wrong somewhere is BROKEN. Raises Abandoned or Rejected if
        nothing can be made of it, and what opening an included file raises."""
        settings = self._parse(self._data, SITE)
        if "include" in settings and settings["include"].value is not BROKEN:
            self._include(settings, settings["include"])
        return settings

    # One file.

    def _source(self, name: str, data: bytes) -> Source:
        source = Source(name, data.decode("utf-8", "replace"), most_lines=MAX_LINES - self._lines)
        self._bytes += len(data)
        self._lines += source.lines
        return source

    def _parse(self, data: bytes, kind: Kind[Any], file: str = "") -> Settings:
        from netpunch.config.document.composer import compose

        begin = FIRST._replace(file=file)
        text = self._text(data, begin)
        root = compose(text, self.problems, file, self._events, kind.wanted)
        settings: Settings = kind.read(Cursor(root, "", root.start, self.problems))
        return settings

    def _text(self, data: bytes, begin: Position) -> str:
        """Raises Abandoned if it is too much, or no text."""
        which = "with this file the site is" if begin.file else "the file is"
        message = ""
        if self._bytes > MAX_FILE:
            message = f"{which} longer than {MAX_FILE // 1024} KiB: split it into several sites"
        elif self.problems.source(begin.file).is_cut:
            begin = begin._replace(line=self.problems.source(begin.file).lines)
            whole = f"{which} longer than" if begin.file else "more than"
            message = f"{whole} {MAX_LINES:,} lines: split the file into several sites"
        else:
            try:
                return data.decode()
            except UnicodeDecodeError as error:
                text = data[: error.start].decode()
                begin = position_of(text, len(text))._replace(file=begin.file)
                message = "not UTF-8: save the file as UTF-8"
        self.problems.add(begin, "", message)
        raise Abandoned

    # Included files.

    def _include(self, settings: Settings, include: Found) -> None:
        """Adds the pairs and meshes of the included files to those of the file itself."""
        seen = {os.path.realpath(self._path)}
        whole = True
        for entry in include.value:
            try:
                if entry.value is BROKEN:
                    raise Rejected
                files = [each for each in self._files(entry) if self._is_new(each, entry, seen)]
            except Rejected:
                whole = False
                continue
            for file in files:
                whole = self._add(settings, file, entry) and whole
        if not whole:
            settings["include"] = include._replace(value=BROKEN)

    def _is_new(self, file: Path, entry: Found, seen: set[str]) -> bool:
        """Whether no earlier entry meant it, too. Raises Rejected for the site file."""
        path = os.path.realpath(file)
        if path == os.path.realpath(self._path):
            raise self._reject(entry, "includes this file itself: keep the others in a folder")
        if len(seen) > MAX_INCLUDED and path not in seen:
            raise self._reject(entry, f"more than {MAX_INCLUDED:,} files: split the site")
        is_new = path not in seen
        seen.add(path)
        return is_new

    def _files(self, entry: Found) -> list[Path]:
        """The files that an entry means, in alphabetical order. Raises Rejected."""
        text = render(entry.value, {})  # braces are written twice, as in any path
        path = self._path.parent / text
        parent, _, name = text.rpartition("/")
        if any(character in parent for character in _WILDCARDS):
            message = "only the name of the files may have wildcards, not that of their folder"
            raise self._reject(entry, message)
        if any(character in name for character in _WILDCARDS):
            found = [each for each in self._names(path.parent, entry) if fnmatchcase(each, name)]
            folder = path.parent
        elif text.endswith("/") or path.is_dir():
            found = [each for each in self._names(path, entry) if each.endswith(SUFFIXES)]
            folder = path
        else:
            return [path]
        if not found:
            line, column, _ = entry.position
            self.remarks.append(
                f"{self._path}:{line}:{column}: {entry.path}: warning: no file there matches yet"
            )
        return [folder / each for each in sorted(found)]

    def _names(self, folder: Path, entry: Found) -> Iterator[str]:
        """Of the entries of a folder that are not hidden."""
        try:
            with access_errors(folder), os.scandir(folder) as entries:
                for count, each in enumerate(entries):
                    if count >= MAX_ENTRIES:
                        message = f"{folder} has more than {MAX_ENTRIES:,} entries: use another one"
                        raise self._reject(entry, message)
                    if not each.name.startswith("."):
                        yield each.name
        except FileNotFoundError:
            raise self._reject(entry, f"there is no folder {folder}: {_CURE}") from None
        except OSError as error:
            raise self._reject(entry, f"{folder} can't be read: {error.strerror}") from None

    def _add(self, settings: Settings, file: Path, entry: Found) -> bool:
        """Whether nothing of the file was left out for being wrong."""
        name = str(file)
        if not name.isprintable():
            self.problems.add(
                entry.position, entry.path, f"{name!a}: rename the file: it can't be shown"
            )
            return False
        try:
            data = self._read_included(file, entry).removeprefix(codecs.BOM_UTF8)
            self.problems.include(self._source(name, data))
            included = self._parse(data, INCLUDED, name)
        except Rejected:
            return False
        except Abandoned:
            if len(self.problems) >= MAX_PROBLEMS:
                raise
            return False
        are_whole = [self._merge(settings, key, included) for key in ("pairs", "meshes")]
        return all(are_whole)

    def _read_included(self, file: Path, entry: Found) -> bytes:
        try:
            with access_errors(file):
                data, mode = read_regular(file, MAX_FILE)
        except FileNotFoundError:
            raise self._reject(entry, f"there is no file {file}: {_CURE}") from None
        except OSError as error:
            raise self._reject(entry, f"{file} can't be read: {error.strerror}") from None
        except ValueError as error:
            raise self._reject(entry, f"{file} {error}") from None
        if mode & stat.S_IROTH:
            self.public.add(str(file))
        return data

    def _merge(self, settings: Settings, key: str, included: Settings) -> bool:
        """`key` is that of a mapping by names."""
        if key not in included:
            return True
        upper, own = settings.setdefault(key, included[key]), included[key]
        if upper is own:
            return is_whole(own.value)
        if BROKEN in (upper.value, own.value):
            settings[key] = upper._replace(value=BROKEN)
            return False
        merged = dict(upper.value)
        for name, found in own.value.items():
            first = merged.setdefault(name, found)
            if first is not found:
                place = self.problems.place(first.position, found.position)
                message = f"the name is taken, {place}: give each its own, or remove one"
                self.problems.add(found.position, found.path, message)
        settings[key] = upper._replace(value=merged)
        return True

    def _reject(self, entry: Found, message: str) -> Rejected:
        """Records a problem with an entry of `include`. The caller raises the result."""
        self.problems.add(entry.position, entry.path, message)
        return Rejected()


def _read(path: Path) -> tuple[bytes, bool]:
    """The file's content, cut a little above the limit, and whether others may read it."""
    try:
        with access_errors(path), path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            return file.read(MAX_FILE + 1), bool(mode & stat.S_IROTH)
    except OSError as error:
        raise MissingFileError(f"{path}: {error.strerror}") from None
