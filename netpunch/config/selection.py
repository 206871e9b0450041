"""Which part of a site this host runs, and what that part needs from other files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from netpunch.config.files import read_regular
from netpunch.config.model import Control, EndConfig, Pair, Part, RenderedFile, Site
from netpunch.config.problems import Problem, SiteError, problem_at
from netpunch.config.source import Source, position_of
from netpunch.errors import ConfigurationError, lack_behind
from netpunch.template import TemplateError, validate

MAX_TEMPLATE = 1024 * 1024
"""Bytes of a template file: as for the site file."""


def select(site: Site, node: str | None, hostname: str, environ_node: str | None) -> Part:
    """The controls and the enabled ends that run on this host, templates read.

    `node` is what `--node` says, `environ_node` what NETPUNCH_NODE does. Raises
    ConfigurationError if no part names this node or a template can't be used."""
    names = _node_names(site)
    name = _choose(site, names, node, hostname, environ_node) if names else None
    if node is not None and not names:
        raise ConfigurationError(
            f"{site.path}: no part names a node, all of it runs in this process: "
            f"leave `--node {node}` out"
        )
    ends = [end for pair in site.pairs for end in pair.ends if end.enabled and end.node == name]
    return Part(
        node=name,
        controls=tuple(control for control in site.controls if control.node == name),
        ends=read_templates(site, ends),
    )


def pairs_served(site: Site, control: Control) -> tuple[Pair, ...]:
    """The enabled pairs that this control introduces."""
    return tuple(pair for pair in site.pairs if pair.enabled and control.name in pair.controls)


def read_templates(site: Site, ends: Iterable[EndConfig]) -> tuple[EndConfig, ...]:
    """The ends with the text of their template files.

    Raises SiteError with every template that can't be read or has unknown placeholders."""
    reader = _TemplateReader(site)
    filled = tuple(
        end._replace(files=tuple(reader.fill(end, index) for index in range(len(end.files))))
        for end in ends
    )
    if reader.problems:
        raise SiteError(tuple(reader.problems))
    return filled


def _node_names(site: Site) -> list[str]:
    nodes = {control.node for control in site.controls}
    nodes |= {end.node for pair in site.pairs for end in pair.ends}
    return sorted(node for node in nodes if node is not None)


def _choose(
    site: Site, names: list[str], node: str | None, hostname: str, environ_node: str | None
) -> str:
    told = node or environ_node or site.node
    candidates = [told] if told else [hostname, hostname.partition(".")[0]]
    for candidate in candidates:
        if candidate.lower() in names:
            return candidate.lower()
    hint = "" if told else ", NETPUNCH_NODE, or `node:` in the file"
    raise ConfigurationError(
        f"{site.path}: no part runs on {candidates[0]!r}: "
        f"choose one of {', '.join(names)} with `--node`{hint}"
    )


class _TemplateReader:
    """Reads each template file once."""

    def __init__(self, site: Site) -> None:
        self._source = Source(str(site.path), site.source)
        self._texts: dict[Path, str] = {}
        self.problems: list[Problem] = []

    def fill(self, end: EndConfig, index: int) -> RenderedFile:
        """A file of an end with its template's text; empty, with a problem, where that fails."""
        file = end.files[index]
        key = f"pairs.{end.pair}.{end.end}.files[{index}].template"
        if file.template not in self._texts:
            self._texts[file.template] = self._read(file, key)
        return file._replace(text=self._texts[file.template])

    def _read(self, file: RenderedFile, key: str) -> str:
        try:
            text = _read_text(file.template)
            validate(text)
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
        self.problems.append(problem_at(self._source, file.position, key, message))


def _read_text(path: Path) -> str:
    """Raises OSError, and ValueError for what is no template."""
    data, _ = read_regular(path, MAX_TEMPLATE)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
