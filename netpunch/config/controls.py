"""The `control` section to `Control` values."""

from __future__ import annotations

from netpunch.config.inherit import Draft
from netpunch.config.keys import EXPIRE
from netpunch.config.model import Control, HostPort, Position
from netpunch.config.problems import Problems
from netpunch.config.schema import Found, Settings, is_whole
from netpunch.config.values import HIGHEST_PORT

ONLY_CONTROL = "control"
"""The name of the only control, if neither it nor its node has one."""

Controls = list[Draft[Control]]


def build_controls(found: tuple[Found, ...], problems: Problems) -> Controls | None:
    """All controls, or None if any of them is wrong: then nothing is said about references."""
    if not is_whole(found) or not all(is_whole(each.value) for each in found):
        return None
    before = len(problems)
    drafts = [_control(each, alone=len(found) == 1, problems=problems) for each in found]
    names: dict[str, Position] = {}
    for draft in drafts:
        first = names.setdefault(draft.part.name, draft.position)
        if draft.part.name and first is not draft.position:
            message = f"a second control named {draft.part.name}: give each its own `name`"
            draft.complain(problems, message, "name")
    return drafts if len(problems) == before else None


def _control(found: Found, *, alone: bool, problems: Problems) -> Draft[Control]:
    settings: Settings = found.value
    given = {name: each.value for name, each in settings.items()}
    name = given.get("name") or given.get("node") or (ONLY_CONTROL if alone else "")
    if not name:
        problems.add(found.position, found.path, "one of several controls needs a `name`")
    address: HostPort = given["address"]
    listen: tuple[HostPort, ...] = given.get("listen") or (HostPort("", address.port),)
    observe = given.get("observe")
    if observe is None:
        observe = tuple(HostPort(each.host, each.port + 1) for each in listen)
        if any(each.port > HIGHEST_PORT for each in observe):
            message = "leaves no port above it to observe from: set `observe`, to a port or off"
            listens = settings.get("listen", settings["address"])
            problems.add(listens.position, listens.path, message)
    control = Control(
        name=name,
        node=given.get("node"),
        address=address,
        listen=listen,
        observe=observe,
        expire=given.get("expire", EXPIRE),
        position=found.position,
        public=given.get("public", ()),
    )
    return Draft(control, settings, found.path, found.position)
