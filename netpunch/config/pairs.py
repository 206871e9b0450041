"""The `pairs` section to `Pair` values: what concerns a pair as a whole."""

from typing import NamedTuple

from netpunch.config.context import Context
from netpunch.config.ends import END_NAMES, build_end
from netpunch.config.inherit import Draft, inherit, setting
from netpunch.config.model import EndConfig, Pair
from netpunch.config.schema import Found, Settings, is_whole
from netpunch.config.sources import GENERATE, inline_complaint, secret_key, secret_source

Ends = tuple[Draft[EndConfig], Draft[EndConfig]]


class PairDraft(NamedTuple):
    """A pair that was built, with the settings it came from, for rules that compare pairs."""

    pair: Pair
    settings: Settings
    found: Found
    ends: Ends


def build_pair(name: str, found: Found, context: Context) -> PairDraft | None:
    """One pair, or None if something in it is wrong (and was recorded)."""
    if not is_whole(found.value):
        return None
    merged = inherit(context.defaults, found.value)
    if not is_whole(merged):
        return None
    before = len(context.problems)
    _check_ends(found, merged, context)
    _check_slots(found, merged, context)
    secret = _check_secret(name, found, merged, context)
    if secret is None or len(context.problems) > before:
        return None
    a, b = (build_end(name, end, found, merged, context) for end in END_NAMES)
    pair = _pair(name, found, merged, secret, (a, b), context)
    _check_both(pair, found, context)
    return PairDraft(pair, merged, found, (a, b)) if len(context.problems) == before else None


def _pair(
    name: str, found: Found, merged: Settings, secret: str, ends: Ends, context: Context
) -> Pair:
    a, b = (draft.part for draft in ends)
    return Pair(
        name=name,
        enabled=setting(merged, "enabled"),
        protocol=setting(merged, "protocol"),
        slots=setting(merged, "slots"),
        controls=tuple(dict.fromkeys(a.controls + b.controls)),
        secret=secret_source(secret, merged, name, context.directory),
        a=a._replace(partner_node=b.node),
        b=b._replace(partner_node=a.node),
        position=found.position,
    )


def _check_ends(found: Found, merged: Settings, context: Context) -> None:
    for end in END_NAMES:
        if end not in merged:
            message = f"end `{end}` is missing: a pair has two, such as `{end}: {{node: office}}`"
            context.problems.add(found.position, found.path, message)


def _check_slots(found: Found, merged: Settings, context: Context) -> None:
    classic = setting(merged, "protocol") == "classic"
    if classic and "slots" not in merged:
        message = "a classic pair needs two slots, such as `slots: a-b`"
        context.problems.add(found.position, found.path, message)
    elif not classic and "slots" in merged:
        slots = merged["slots"]
        message = "only classic pairs have slots: remove this, or add `protocol: classic`"
        context.problems.add(slots.position, slots.path, message)


def _check_secret(name: str, found: Found, merged: Settings, context: Context) -> str | None:
    """The key that gives the pair's secret. An end's own only replaces it at that end."""
    key = secret_key(merged)
    if key is None:
        message = (
            f"the pair has no secret: add `secret_file: {name}.key` "
            f"(`netpunch key new -o {name}.key` makes it), `credential` or `secret`"
        )
        context.problems.add(found.position, found.path, message)
        return None
    source = secret_source(key, merged, name, context.directory)
    complaint = inline_complaint(source, setting(merged, "protocol"), "control")
    if complaint:
        context.problems.add(merged[key].position, merged[key].path, complaint)
    return key


def _check_both(pair: Pair, found: Found, context: Context) -> None:
    """What the two ends have to agree on."""
    a, b = pair.ends
    if not set(a.controls) & set(b.controls) and context.controls is not None:
        message = "the ends have no control in common: nobody would introduce them"
        context.problems.add(found.position, found.path, message)
    if a.holds != b.holds:
        holder, other = ("a", "b") if a.holds else ("b", "a")
        message = (
            f"end `{holder}` keeps the port after the link, end `{other}` hands it over: "
            "both keep it (`mode: keep` without `command` and `check`), or neither does"
        )
        context.problems.add(found.position, found.path, message)
    kinds = {pair.secret.kind, a.secret.kind, b.secret.kind}
    if GENERATE in kinds and len(kinds) > 1:
        message = "`secret: generate` makes one key for the pair: no end can have another"
        context.problems.add(found.position, found.path, message)
