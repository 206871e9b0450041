"""Reading the files that a site file names."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from pathlib import Path

from netpunch.config.document.problems import Problem, SiteError, Source, position_of, problem_at
from netpunch.config.model import EndConfig, RenderedFile, Site
from netpunch.errors import lack_behind
from netpunch.mesh import mesh_pair
from netpunch.template import TemplateError, of_end, validate

MAX_TEMPLATE = 1024 * 1024
"""Bytes of a template file, as of a site file."""


def read_regular(path: Path, limit: int) -> tuple[bytes, int]:
    """All bytes of a regular file and its mode bits. The file is opened once, so that the mode is
    that of the file that was read.

    Raises OSError if it can't be opened, ValueError if it is no regular file or longer than `limit`
    bytes; the error's text follows the path: `is a directory`."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise ValueError("is not a regular file")
            data = file.read(limit + 1)
    except IsADirectoryError:
        raise ValueError("is a directory") from None
    if len(data) > limit:
        raise ValueError(f"is longer than {limit:,} bytes")
    return data, stat.S_IMODE(mode)


def _without_waiting(path: str, flags: int) -> int:
    """Opening a FIFO would otherwise block until it has a writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def read_templates(site: Site, ends: Iterable[EndConfig]) -> tuple[EndConfig, ...]:
    """The ends with the text of their template files.

    Raises SiteError with every template that can't be read or has unknown placeholders, and
    ResourcesError."""
    reader = _TemplateReader(site)
    filled = tuple(
        end._replace(files=tuple(reader.fill(end, index) for index in range(len(end.files))))
        for end in ends
    )
    if reader.problems:
        raise SiteError(tuple(reader.problems))
    return filled


class _TemplateReader:
    """Reads each template file once."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._texts: dict[tuple[Path, frozenset[str]], str] = {}
        self.problems: list[Problem] = []

    def fill(self, end: EndConfig, index: int) -> RenderedFile:
        """A file of an end with its template's text. If that can't be read, records the problem."""
        file = end.files[index]
        key = f"{end.path}.files[{index}].template"
        in_mesh = mesh_pair(end.pair) is not None
        known = of_end(in_mesh=in_mesh, forwards=end.forward is not None)
        if (file.template, known) not in self._texts:
            self._texts[file.template, known] = self._read(file, key, known)
        return file._replace(text=self._texts[file.template, known])

    def _read(self, file: RenderedFile, key: str, known: Collection[str]) -> str:
        try:
            text = _read_text(file.template)
            validate(text, known)
        except TemplateError as error:
            position = position_of(text, error.offset)
            template = Source(str(file.template), text, is_site=False)
            self.problems.append(problem_at(template, position, "", str(error)))
        except OSError as error:
            if lack := lack_behind(error, str(file.template)):
                raise lack from None
            self._complain(file, key, f"can't be read: {error.strerror}")
        except ValueError as error:
            self._complain(file, key, str(error))
        else:
            return text
        return ""

    def _complain(self, file: RenderedFile, key: str, what: str) -> None:
        message = f"the template {file.template} {what}"
        self.problems.append(self._site.problem(file.position, key, message))


def _read_text(path: Path) -> str:
    """Raises OSError, and ValueError if it is no text file of a usable length."""
    data, _ = read_regular(path, MAX_TEMPLATE)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
