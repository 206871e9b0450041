"""The keys of a site file: which there are, how each is read, and its default."""

from __future__ import annotations

from typing import Any

from netpunch.config import readers, values
from netpunch.config.model import HostPort
from netpunch.config.schema import (
    Cursor,
    Found,
    Reader,
    Settings,
    choice,
    is_whole,
    list_of,
    off_or,
    one_or_list,
    record,
    scalar,
)

VERSION = "1"

SECRET_KEYS = ("secret_file", "credential", "secret")
"""Exactly one of them gives a pair's secret."""

EXPIRE = 60.0
"""Seconds after which a control forgets an end that it no longer hears."""

HOOK_TIMEOUT = 30.0
"""Seconds that a hook may take."""

FILE_MODE = 0o640
"""Of rendered files, as of env files: other users have no business with them."""

_duration = scalar("a duration such as 500ms, 10s, 5m, 2h or 1d", values.duration)
_switch = scalar("on or off", values.switch)
_node = scalar("a host's name, such as home or vps.example.net", values.node_name)
_control_name = scalar("the name of a control, such as vps", values.node_name)
_listen = scalar(
    'an address to listen on, such as ":10001", "192.0.2.1:10001" or "[2001:db8::1]:10001"',
    values.bound_host_port,
)
_public = scalar(
    "an IP address or a host name without a port, such as 198.51.100.7", values.public_host
)
_send_to = scalar('an address such as "127.0.0.1:51820"', values.reachable_host_port)
_local = scalar(
    'an address such as ":5000", "192.0.2.1:5000" or "[2001:db8::1]:5000"', values.host_port
)
_mark = scalar("a firewall mark such as 51820 or 0xca6c, or off", values.mark)
_interface = scalar("a network interface such as eth0, or off", values.interface)
_rate = scalar("datagrams a second, such as 200/s", values.rate)

_file = record(
    {
        "template": readers.path("the path of a template file"),
        "to": readers.path('a path such as "/run/netpunch/{pair}.conf"'),
        "mode": scalar('an octal file mode such as "0640"', values.file_mode),
    },
    required=("template", "to"),
    wanted='a mapping such as {template: vpn.conf.in, to: "/run/vpn.conf"}',
)

_forward = record(
    {"listen": _listen, "to": _send_to},
    wanted='a mapping such as {listen: "127.0.0.1:51821"}, or off',
)

_ANYWHERE: dict[str, tuple[Reader[Any], Any]] = {
    "enabled": (_switch, True),
    "mode": (choice("once", "keep"), "once"),
    "control": (one_or_list(_control_name, "the name of a control, or a list of them"), ()),
    "local": (_local, HostPort("", 0)),
    "mark": (off_or(_mark, 0), 0),
    "interface": (off_or(_interface, ""), ""),
    "candidates": (readers.candidates, frozenset({"observed", "host", "any-port"})),
    "deadline": (_duration, 60.0),
    "retry_after": (_duration, 30.0),
    "keepalive": (_duration, 15.0),
    "probe_rate": (_rate, 200.0),
    "check": (readers.program, ()),
    "check_every": (_duration, 30.0),
    "command": (readers.command, ()),
    "forward": (off_or(_forward, None), None),
    "hooks": (readers.hooks(_duration), {}),
    "env_file": (off_or(readers.path('a path such as "/run/{pair}.{end}.env"'), None), None),
    "files": (list_of(_file, "a list such as [{template: vpn.in, to: /run/vpn.conf}]"), ()),
    "template": (readers.template('a text such as "{pair} {raddr}"'), None),
    "session_key": (_switch, False),
    "standby": (_switch, True),
    "secret_file": (readers.secret_file, None),
    "credential": (readers.credential, None),
    "secret": (readers.secret, None),
}
"""The keys that may stand in `defaults`, in a pair and in its ends, with their defaults."""

DEFAULTS: dict[str, Any] = {
    "node": None,
    "protocol": "v2",
    "slots": "",
    **{name: default for name, (_, default) in _ANYWHERE.items()},
}

_anywhere: dict[str, Reader[Any]] = {name: reader for name, (reader, _) in _ANYWHERE.items()}

_OF_THE_PAIR = "belongs to the pair, one level up: both ends speak the same protocol"


def _with_one_secret(reader: Reader[Settings]) -> Reader[Settings]:
    """Several sources of a secret in one place contradict each other."""

    def read(cursor: Cursor) -> Settings:
        settings = reader(cursor)
        sources = (name for name in settings if name in SECRET_KEYS)
        first, *others = [name for name in sources if is_whole(settings[name].value)] or [""]
        for name in others:
            extra = settings[name]
            message = f"a second secret, beside `{first}`: keep one of {', '.join(SECRET_KEYS)}"
            cursor.problems.add(extra.position, extra.path, message)
        return settings

    return read


_end = _with_one_secret(
    record(
        _anywhere | {"node": _node},
        wanted='a mapping such as {node: home, local: ":5000"}, or {} to inherit everything',
        elsewhere={"protocol": _OF_THE_PAIR, "slots": _OF_THE_PAIR},
    )
)

_pair = _with_one_secret(
    record(
        _anywhere
        | {
            "protocol": choice("v2", "classic"),
            "slots": scalar("two neighbouring letters: a-b, c-d, ... or y-z", values.slots),
            "a": _end,
            "b": _end,
        },
        wanted="a mapping such as {secret_file: home.key, a: {node: home}, b: {node: office}}",
        elsewhere={"node": "belongs to an end: write it below `a` or `b`"},
    )
)

_control = record(
    {
        "name": _node,
        "node": _node,
        "address": scalar(
            'where ends reach it, such as "vps.example.net:10001"', values.reachable_host_port
        ),
        "listen": one_or_list(_listen, "an address, or a list of them"),
        "observe": off_or(one_or_list(_listen, "an address, a list of them, or off"), ()),
        "expire": _duration,
        "public": one_or_list(_public, "a public address, or a list of them"),
    },
    required=("address",),
    wanted='a mapping such as {node: vps, address: "vps.example.net:10001"}',
)


def _found_control(cursor: Cursor) -> Found:
    return cursor.find(_control)


def _pairs(cursor: Cursor) -> Settings:
    """Each stands where its name does."""
    pairs: Settings = {}
    for name, each in cursor.entries("a mapping of pairs: `home-office: {a: ..., b: ...}`"):
        if values.PAIR_NAME.fullmatch(name):
            pairs[name] = Found(each.find(_pair).value, each.at, each.path)
        else:
            message = "is no name for a pair: expected up to 32 of a-z, 0-9 and -, no - first"
            each.problems.add(each.at, each.path, message)
    return pairs


def _version(text: str) -> str:
    if text != VERSION:
        raise ValueError("is a version that this netpunch does not know")
    return text


SITE = record(
    {
        "version": scalar(VERSION, _version),
        "node": _node,
        "control": one_or_list(_found_control, "a mapping with an `address`, or a list of them"),
        "defaults": _pair,
        "status": readers.path("a path such as /run/netpunch/status.sock", ()),
        "metrics": record(
            {"textfile": readers.path("a path such as /var/lib/metrics/netpunch.prom", ())},
            required=("textfile",),
            wanted="a mapping such as {textfile: /var/lib/metrics/netpunch.prom}",
        ),
        "pairs": _pairs,
    },
    required=("version", "control", "pairs"),
    wanted="a mapping with `version: 1`, `control` and `pairs`",
)
"""A whole file. `control` is a tuple of Found, whose values are Settings like those of pairs."""
