"""Documents the types of events and the reasons, from their source, as Markdown."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

import netpunch.reasons
from netpunch.output import events
from tests.output.event_examples import LINES

ADDRESSES = {
    "local": ("`laddr`, `lhost`, `lport`", "address, string, number"),
    "remote": ("`raddr`, `rhost`, `rport`", "address, string, number"),
}
"""Fields that are three in JSON."""

JSON_TYPES = {
    "str": "string",
    "int": "number",
    "float": "number",
    "bool": "true or false",
    "Address": "address",
    "Sequence": "list",
    "Literal": "string",
}


class Field(NamedTuple):
    """Of an event."""

    name: str
    type: str
    optional: bool
    doc: str

    @property
    def row(self) -> str:
        name, kind = ADDRESSES.get(self.name, (f"`{self.name}`", JSON_TYPES[self.type]))
        meaning, absent = self.split()
        return f"| {name} | {kind} | {meaning} | {absent} |"

    def split(self) -> tuple[str, str]:
        """What the field means, and when it is absent."""
        meaning, _, absent = self.doc.removesuffix(".").partition(". Absent ")
        return meaning, absent


class Documented(NamedTuple):
    """A type of event as its source documents it."""

    name: str
    doc: str
    fields: tuple[Field, ...]

    @property
    def section(self) -> str:
        table = "\n".join(field.row for field in self.fields)
        head = "\n\n| field | type | meaning | absent |\n| --- | --- | --- | --- |\n"
        example = next(line for line in LINES if f'"event":"{self.name}"' in line)
        fields = f"{head}{table}" if table else ""
        return f"### `{self.name}`\n\n{self.doc}{fields}\n\n```json\n{example}\n```\n"


def documented_events() -> Iterator[Documented]:
    """In the order of the source."""
    tree = _tree(events)
    aliases = {
        target.id: (ast.unparse(node.value), doc)
        for node, doc in _with_docs(tree.body)
        if isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Name)
    }
    fields: dict[str, tuple[Field, ...]] = {"Event": ()}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name not in fields:
            fields[node.name] = fields[ast.unparse(node.bases[0])] + tuple(
                _field(each, doc, aliases)
                for each, doc in _with_docs(node.body)
                if isinstance(each, ast.AnnAssign)
            )
            kind: type[events.Event] = getattr(events, node.name)
            if not kind.__subclasses__():
                doc = _one_line(ast.get_docstring(node))
                yield Documented(kind.event, doc, fields[node.name])


def documented_reasons() -> Iterator[tuple[str, str]]:
    """Each reason and its meaning."""
    (enum,) = (node for node in _tree(netpunch.reasons).body if isinstance(node, ast.ClassDef))
    for node, doc in _with_docs(enum.body):
        if isinstance(node, ast.Assign):
            (target,) = node.targets
            yield str(netpunch.reasons.Reason[ast.unparse(target)]), doc


def render_events() -> str:
    """A section for each event: its fields and an example."""
    return "\n".join(each.section for each in documented_events())


def render_reasons() -> str:
    """A table of all reasons."""
    rows = (f"| `{reason}` | {doc.removesuffix('.')} |" for reason, doc in documented_reasons())
    return "\n".join(["| `reason` | meaning |", "| --- | --- |", *rows])


def _field(node: ast.AnnAssign, doc: str, aliases: dict[str, tuple[str, str]]) -> Field:
    required, *none = ast.unparse(node.annotation).split(" | ")
    kind, alias_doc = aliases.get(required, (required, ""))
    return Field(ast.unparse(node.target), kind.partition("[")[0], bool(none), doc or alias_doc)


def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


def _with_docs(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """Each statement with the string below it."""
    for node, below in zip(body, [*body[1:], ast.Pass()], strict=True):
        match below:
            case ast.Expr(ast.Constant(str(doc))):
                yield node, _one_line(doc)
            case _:
                yield node, ""


def _one_line(text: str | None) -> str:
    return re.sub(r"\s+", " ", text or "").strip()
