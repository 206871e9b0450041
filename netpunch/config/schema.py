"""Every key of a site file, declared once: name, kind of value, default, meaning. Inheritance,
`check --show`, the documentation's tables and the JSON schema are derived from these tables. A key
of an end fills the field of its name in `model.EndConfig` or `core.settings.EndSettings`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from netpunch.config import values
from netpunch.config.document import tree
from netpunch.config.kinds import (
    ARGV,
    BROKEN,
    REQUIRED,
    TEXT,
    Cursor,
    Found,
    Key,
    Kind,
    Place,
    Rejected,
    Schema,
    Settings,
    beside,
    checked,
    choice,
    is_whole,
    list_of,
    mapping,
    matching,
    no_key_text,
    off_or,
    one_or_list,
    one_or_two,
    path,
    program,
    scalar,
    text,
)
from netpunch.config.model import SECRET_KEYS, Forward, Hooks, RenderedFile
from netpunch.config.values import HostPort
from netpunch.core.settings import TLS_PORT, EndSettings
from netpunch.core.timing import RELAY_RATE, RELAY_TOTAL, SHARED_KEEPALIVE
from netpunch.core.traversal.budget import PROBE_RATE
from netpunch.template import escape, render

VERSION = "1"

GENERATE = "generate"
"""The value of `secret` that stands for a new key at every start."""

_CANDIDATES = ("observed", "host", "any-port", "mapped", "relay")
_ADDRESSES = ("observed", "host", "mapped")
"""Candidates that are addresses; the others only extend them."""


def _number(value: float) -> str:
    """Without an exponent and trailing zeros; nanoseconds are enough."""
    return f"{value:.9f}".rstrip("0").rstrip(".")


def _address(wanted: str, convert: Callable[[str], HostPort]) -> Kind[Any]:
    return scalar(wanted, convert, lambda it: str(HostPort(*it)), matching(":[0-9]{1,5}$"))


def _counted(wanted: str, convert: Callable[[str], HostPort]) -> Kind[Any]:
    """An address that a mesh's pairs may count from."""
    schema = matching(":[0-9]{1,5}\\+?$")
    return _address(wanted, values.counting(convert))._replace(schema=schema)


_DIGITS = r"^[0-9]{1,9}(\.[0-9]{1,9})?\s*"
_DURATION = "a duration such as 500ms, 10s, 5m, 2h or 1d"
DURATION = scalar(
    _DURATION,
    values.duration,
    lambda it: f"{_number(it)}s",
    matching(rf"{_DIGITS}(ms|s|m|h|d)\s*$"),
)
_RATE = "datagrams a second, such as 200/s"
RATE = scalar(_RATE, values.rate, lambda it: f"{_number(it)}/s", matching(rf"{_DIGITS}/s\s*$"))
_BIT_RATE = "a rate such as 500kbit/s, 20Mbit/s or 1Gbit/s"
BIT_RATE = scalar(
    _BIT_RATE,
    values.bit_rate,
    lambda it: f"{_number(it / 1e6)}Mbit/s",
    matching(rf"{_DIGITS}[kMG]?bit/s\s*$"),
)
_SWITCH = "^([Oo][Nn]|[Oo][Ff][Ff]|[Yy][Ee][Ss]|[Nn][Oo]|[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])$"
SWITCH = scalar(
    "on or off", values.switch, bool, {"anyOf": [{"type": "boolean"}, matching(_SWITCH)]}
)
NODE = scalar("a host name, such as home or vps.example.net", values.node_name)
MESH_NODE_NAME = scalar("a host name without dots, such as home", values.mesh_node_name)
CONTROL_NAME = scalar("the name of a control, such as vps", values.node_name)
LISTEN = _address(
    'an address to listen on, such as ":10001", "192.0.2.1:10001" or "[2001:db8::1]:10001"',
    values.bound_host_port,
)
CONTROL_ADDRESS = _address(
    'an address that ends can reach, such as "vps.example.net:10001"', values.reachable_host_port
)
SEND_TO = _address('an address such as "127.0.0.1:51820"', values.reachable_host_port)
LOCAL = _counted(
    'an address such as ":5000", "192.0.2.1:5000" or "[2001:db8::1]:5000"', values.host_port
)
FORWARD_LISTEN = _counted(
    'an address to listen on, such as "127.0.0.1:7001", or auto', values.listening_host_port
)._replace(
    write=lambda it: str(it) if isinstance(it, values.Auto) else str(HostPort(*it)),
    schema=matching(f"(^{values.AUTO_WORD}|:[0-9]{{1,5}}\\+?)$"),
)
PUBLIC = scalar(
    "an IP address or a host name without a port, such as 198.51.100.7", values.public_host
)
_NUMBERS: Schema = {"type": ["integer", "string"]}
MARK = scalar("a firewall mark such as 51820 or 0xca6c, or off", values.mark, schema=_NUMBERS)
TCP_PORT = scalar("a TCP port such as 443, or off", values.tcp_port, schema=_NUMBERS)
RELAY_PORTS = scalar(
    f"a number from 1 to {values.MOST_RELAY_PORTS}", values.relay_ports, schema=_NUMBERS
)
INTERFACE = scalar("a network interface such as eth0, or off", values.interface)
WIREGUARD_KEY = scalar("a public key as `wg pubkey` prints it", values.wireguard_key)
FILE_MODE = scalar(
    'an octal file mode such as "0640"', values.file_mode, lambda mode: f"{mode:04o}", _NUMBERS
)
_SLOTS = "two neighbouring letters: a-b, c-d, ... or y-z"
SLOTS = scalar(_SLOTS, values.slots, "-".join, matching("^[a-z]-[a-z]$"))


def _candidates() -> Kind[Any]:
    words = list_of(choice(*_CANDIDATES), "a list such as [observed, host, any-port]")

    def flaw(chosen: tuple[str, ...]) -> str:
        lacking = "no address is left to try: add observed, host or mapped"
        return lacking if set(chosen).isdisjoint(_ADDRESSES) else ""

    kind: Kind[Any] = checked(words, flaw)
    return kind._replace(
        schema=words.schema | {"contains": {"enum": list(_ADDRESSES)}},
        write=lambda chosen: [each for each in _CANDIDATES if each in chosen],
        build=lambda chosen, _: frozenset(chosen),
    )


def _plain_path(wanted: str) -> Kind[Any]:
    """A path without placeholders."""

    def build(value: str, place: Place) -> Path:
        return Path(beside(str(place.directory), render(value, {})))

    return path(wanted, ())._replace(build=build, write=lambda path: escape(str(path)))


def _credential() -> Kind[Any]:
    name = no_key_text(path("the name of a file in $CREDENTIALS_DIRECTORY", {"pair"}))
    message = "expected a file's name as in LoadCredential=NAME:..., got a path"
    return checked(name, lambda text: message if "/" in text or text in (".", "..") else "")


def _secret() -> Kind[Any]:
    """Errors repeat nothing of it."""
    wanted = '`generate`, or a key in quotes: "npk1:..."'

    def read(cursor: Cursor) -> str:
        node = cursor.node
        if isinstance(node, tree.Scalar) and node.text and not node.is_null:
            return node.text
        raise cursor.reject(f"expected {wanted}")

    return Kind(wanted, read, TEXT, str)


def _keys(kind: Kind[Any]) -> Kind[tuple[Any, ...]]:
    """One key, or two while it is rotated."""
    return one_or_two(kind, f"{kind.wanted}; or a list of two")


def _hooks() -> Kind[Hooks]:
    """A program for each occasion, or one for all four."""
    wanted = f"{ARGV}, for all occasions; or a mapping of them: {{up: [...], down: [...]}}"
    each = mapping(HOOK_KEYS, Hooks, wanted)
    argv = program()

    def read(cursor: Cursor) -> Settings:
        if not isinstance(cursor.node, tree.Sequence):
            settings: Settings = each.read(cursor)
            return settings
        found = Found(argv.read(cursor), cursor.node.start, cursor.path)
        return dict.fromkeys(OCCASIONS, found)

    return each._replace(read=read, schema={"anyOf": [argv.schema, each.schema]})


def _forward(listen: HostPort | None, to: HostPort | None, *, sealed: bool) -> Forward | None:
    """None if `listen` is missing, which is complained about elsewhere."""
    return Forward(listen, to, sealed) if listen else None


def _file() -> Kind[RenderedFile]:
    wanted = 'a mapping such as {template: vpn.conf.in, to: "/run/vpn.conf"}'
    each: Kind[dict[str, Any]] = mapping(FILE_KEYS, dict, wanted)

    def build(settings: Settings, place: Place) -> RenderedFile:
        values = each.build(settings, place)
        values["template"] = Path(render(values["template"], place.names))
        return RenderedFile(**values, position=settings["template"].position)

    def write(file: RenderedFile) -> Any:
        return each.write(file._asdict() | {"template": escape(str(file.template))})

    return Kind(wanted, each.read, each.schema, write, build)


def _with_one_secret(kind: Kind[Any]) -> Kind[Any]:
    """Several sources of a secret in one place contradict each other."""

    def read(cursor: Cursor) -> Settings:
        settings: Settings = kind.read(cursor)
        named = [name for name in settings if name in SECRET_KEYS.values()]
        first, *others = [name for name in named if is_whole(settings[name].value)] or [""]
        for name in others:
            message = f"a second secret, beside `{first}`: keep only one of {', '.join(named)}"
            cursor.problems.add(settings[name].position, settings[name].path, message)
        return settings

    return kind._replace(read=read)


def _by_name(names: re.Pattern[str], each: Kind[Any]) -> dict[str, Any]:
    """The JSON schema of a mapping whose keys are such names."""
    return {
        "type": "object",
        "propertyNames": {"pattern": f"^{names.pattern}$"},
        "additionalProperties": each.schema,
    }


def _pairs() -> Kind[Any]:
    """Each pair's position is that of its name."""
    wanted = "a mapping of pairs: `home-office: {a: ..., b: ...}`"

    def read(cursor: Cursor) -> Settings:
        pairs: Settings = {}
        for name, each in cursor.entries(wanted):
            try:
                values.pair_name(name)
            except ValueError as error:
                each.problems.add(each.at, each.path, f"invalid pair name: {error}")
            else:
                pairs[name] = Found(each.find(PAIR.read).value, each.at, each.path)
        return pairs

    return Kind(wanted, read, _by_name(values.PAIR_NAME, _ref(PAIR, "pair")), dict)


def _meshes() -> Kind[Any]:
    """Each mesh's position is that of its name."""
    wanted = "a mapping of meshes: `lan: {secret_file: lan.key, nodes: [home, office, cabin]}`"

    def read(cursor: Cursor) -> Settings:
        meshes: Settings = {}
        for name, each in cursor.entries(wanted):
            if values.NAME.fullmatch(name):
                meshes[name] = Found(each.find(MESH.read).value, each.at, each.path)
            else:
                message = f"invalid name of a mesh: {values.NAME_RULE}"
                each.problems.add(each.at, each.path, message)
        return meshes

    return Kind(wanted, read, _by_name(values.NAME, _ref(MESH, "mesh")), dict)


def _mesh_nodes() -> Kind[Any]:
    """The Settings of each node, by its name; `node` is one of them."""
    wanted = 'a list of nodes, [home, office], or a mapping: {home: {local: ":5000"}, office: {}}'

    def read(cursor: Cursor) -> Settings:
        nodes: Settings = {}
        flaws = 0
        for name, place, own in written_nodes(cursor):
            try:
                node = MESH_NODE_NAME.read(name)
            except Rejected:
                flaws += 1
                continue
            if node in nodes:
                message = f"the node {node} is in the list twice: remove one"
                name.problems.add(name.at, name.path, message)
                flaws += 1
                continue
            shown = node if name.is_shown else tree.UNNAMED
            place = place or tree.below(cursor.path, shown)
            settings = own if own is BROKEN else {"node": Found(node, name.at, place), **own}
            nodes[node] = Found(settings, name.at, place)
        if flaws:
            raise Rejected
        return nodes

    def written_nodes(cursor: Cursor) -> Iterator[tuple[Cursor, str, Any]]:
        """The name of each node, its path if it has one of its own, and its settings."""
        if not isinstance(cursor.node, tree.Mapping):
            for each in cursor.items(wanted):
                yield each, "", {}
            return
        for key, each in cursor.entries(wanted):
            name = each._replace(node=cursor.node.entries[key].key)
            yield name, each.path, each.find(MESH_NODE.read).value

    schema = {
        "anyOf": [
            {"type": "array", "items": MESH_NODE_NAME.schema},
            {"type": "object", "additionalProperties": MESH_NODE.schema},
        ]
    }
    return Kind(wanted, read, schema, dict)


def _ref(kind: Kind[Any], name: str) -> Kind[Any]:
    """A kind that the JSON schema defines once."""
    return kind._replace(schema={"$ref": f"#/$defs/{name}"})


def _version(text: str) -> str:
    if text != VERSION:
        raise ValueError("an unknown version of the file format")
    return text


def _setting(name: str, kind: Kind[Any], doc: str) -> Key[Any]:
    """A key whose default is that of EndSettings."""
    return Key(name, kind, EndSettings._field_defaults[name], doc)


_KEEPALIVE: float = EndSettings._field_defaults["keepalive"]
_HOLD_FOR: float = EndSettings._field_defaults["hold_for"]
_USUAL_KEEPALIVES = 3
"""How many a held link may miss by default, however rare they are."""


def usual_keepalive(*, share: bool) -> float:
    """The default of `keepalive`, in seconds."""
    return SHARED_KEEPALIVE if share else _KEEPALIVE


def usual_hold_for(keepalive: float) -> float:
    """The default of `hold_for`, in seconds."""
    return max(_HOLD_FOR, _USUAL_KEEPALIVES * keepalive)


OCCASIONS = ("before", "up", "down", "fail")
"""When hooks run."""

HOOK_KEYS: list[Key[Any]] = [
    Key("before", program(), (), "before an end punches"),
    Key(
        "up",
        program(),
        (),
        "once there is a link and the port is free, or held; again when a held link moves",
    ),
    Key("down", program(), (), "when the link is lost (mode `keep`)"),
    Key("fail", program(), (), "when there is no link after `before`"),
    Key("timeout", DURATION, Hooks().timeout, "a hook that runs longer is terminated"),
]

FILE_KEYS: list[Key[Any]] = [
    Key("template", path("the path of a template file"), "", "the file to fill in", REQUIRED),
    Key("to", path('a path such as "/run/{pair}.conf"'), "", "the file to write", REQUIRED),
    Key("mode", FILE_MODE, 0o640, "permissions of the written file"),
]

FORWARD_KEYS: list[Key[Any]] = [
    Key(
        "listen",
        FORWARD_LISTEN,
        None,
        "where the program sends to; `auto`: a port of 127.0.0.1 that netpunch chooses",
        "none, but needed",
    ),
    Key("to", SEND_TO, None, "where the program is", "the address it last sent from"),
    Key(
        "sealed",
        SWITCH,
        False,
        "`on`, at both ends: encrypt and authenticate what passes, for programs that don't",
    ),
]
"""A pair may set some of them and `defaults` the others."""

_controls = one_or_list(CONTROL_NAME, "the name of a control, or a list of them")
_forward_kind = mapping(
    FORWARD_KEYS, _forward, 'a mapping such as {listen: "127.0.0.1:51821"}, or off'
)
_env_file = path('a path such as "/run/{pair}.{end}.env"')
_files = list_of(_file(), "a list such as [{template: vpn.in, to: /run/vpn.conf}]")
_template = text('a text such as "{pair} {raddr}"')
_secret_file = _keys(no_key_text(path("the path of a key file: secrets/home.key", {"pair"})))
_OR_TWO = "; `[new.key, old.key]` while it is rotated"

ANYWHERE: list[Key[Any]] = [
    Key("enabled", SWITCH, True, "`off`: it does not run"),
    Key(
        "mode",
        choice("once", "keep"),
        None,
        "`keep`: link again whenever the link is lost",
        "`once`, with `share` `keep`",
    ),
    Key("control", _controls, (), "the controls that introduce the pair", "all"),
    _setting("local", LOCAL, "where to punch from; no address: all; port 0: any free port"),
    _setting(
        "mark", off_or(MARK, 0), "SO_MARK of all datagrams, to bypass a VPN's default route; Linux"
    ),
    _setting(
        "interface", off_or(INTERFACE, ""), "the only interface to use (SO_BINDTODEVICE); Linux"
    ),
    Key(
        "tls",
        off_or(TCP_PORT, 0),
        None,
        "the TCP port at which controls are tried over TLS while they are silent on UDP; `off`: "
        "they are not",
        f"that of a control's `tls`, or {TLS_PORT}",
    ),
    _setting(
        "candidates",
        _candidates(),
        "addresses to try. `observed`: as control sees the end; `host`: the host's own; "
        "`any-port`: other local ports, too, which symmetric NATs require; `mapped`: a port that "
        "the gateway maps (PCP, NAT-PMP); `relay`: a control's relay, if it has one and nothing "
        "else works",
    ),
    _setting(
        "deadline", DURATION, "when to give up; in mode `keep`, only a partner that is present"
    ),
    Key("retry_after", DURATION, 30.0, "mode `keep`: pause before the next attempt, ±20 %"),
    Key(
        "keepalive",
        DURATION,
        None,
        "how often a held link is kept open; with `share`, how long a dead path goes unnoticed",
        f"`{_number(_KEEPALIVE)}s`, with `share` `{_number(SHARED_KEEPALIVE)}s`",
    ),
    Key(
        "hold_for",
        DURATION,
        None,
        "how long a held link may be silent, and no other path found, before it is given up: two "
        "`keepalive`s or more",
        f"`{_number(_HOLD_FOR)}s`, or {_USUAL_KEEPALIVES} times `keepalive` if that is longer",
    ),
    Key(
        "probe_rate",
        RATE,
        PROBE_RATE,
        "limit for probing symmetric NATs, from 10/s; the lowest counts",
    ),
    Key(
        "check",
        program(),
        (),
        "its exit code 0 means that the link is alive. It runs before each attempt and, in mode "
        "`keep`, every `check_every`; after two failures the link is lost",
    ),
    Key("check_every", DURATION, 30.0, "how often `check` runs"),
    Key("command", program(is_template=True), (), "mode `keep`: the program that uses the port"),
    _setting(
        "share",
        SWITCH,
        "`on`: another program, such as WireGuard, has the port of `local` and uses the link. "
        "netpunch finds and holds it, from the same port by raw sockets; Linux, CAP_NET_RAW",
    ),
    Key("forward", off_or(_forward_kind, None), None, "mode `keep`: relay to a local UDP program"),
    Key("hooks", _hooks(), Hooks(), "programs to run on occasions"),
    Key("env_file", off_or(_env_file, None), None, "file with the link's addresses as variables"),
    Key("files", _files, (), "files to write from templates at each link"),
    Key(
        "template", _template, None, "what `--format text` prints for a link", "pair and addresses"
    ),
    Key(
        "session_key", SWITCH, False, "`on`: `up` gets the link's key in NETPUNCH_SESSION_KEY_FILE"
    ),
    Key("standby", SWITCH, True, "with `command` or `check`: be there when the partner restarts"),
    Key("secret_file", _secret_file, None, f"file with the pair's key{_OR_TWO}", "none"),
    Key("credential", _keys(_credential()), None, "systemd credential with the key", "none"),
    Key(
        "secret",
        _keys(_secret()),
        None,
        "the key itself; `generate`: a new one at each start",
        "none",
    ),
]
"""Keys of `defaults`, pairs and ends."""

_OF_THE_PAIR = "belongs to the pair, one level up: both ends speak the same protocol"
_OF_AN_END = "belongs to an end: write it below `a` or `b`"

PROTOCOL_KEY = _setting("protocol", choice("v2", "classic"), "`classic`: that of the Go netpunch")
SLOTS_KEY = Key("slots", SLOTS, "", "protocol `classic`: the letters of ends a and b", "none")
OWN_WIREGUARD_KEY: Key[Any] = Key(
    "wireguard_key",
    WIREGUARD_KEY,
    None,
    "the public key of the host's WireGuard, which the partner's hooks get",
    "none",
)
NODE_KEY: Key[Any] = Key("node", NODE, None, "the host that runs it", "none: all in one process")

END_KEYS: list[Key[Any]] = [
    NODE_KEY,
    *ANYWHERE,
    OWN_WIREGUARD_KEY,
    PROTOCOL_KEY._replace(elsewhere=_OF_THE_PAIR),
    SLOTS_KEY._replace(elsewhere=_OF_THE_PAIR),
]
_END = 'a mapping such as {node: home, local: ":5000"}, or {} to inherit everything'
END = _with_one_secret(mapping(END_KEYS, dict, _END))

PAIR_KEYS: list[Key[Any]] = [
    PROTOCOL_KEY,
    SLOTS_KEY,
    *ANYWHERE,
    Key("a", _ref(END, "end"), None, "one end", "none, but needed"),
    Key("b", _ref(END, "end"), None, "the other end", "none, but needed"),
    NODE_KEY._replace(elsewhere=_OF_AN_END),
    OWN_WIREGUARD_KEY._replace(elsewhere=_OF_AN_END),
]
_PAIR = "a mapping such as {secret_file: home.key, a: {node: home}, b: {node: office}}"
PAIR = _with_one_secret(mapping(PAIR_KEYS, dict, _PAIR))

_OF_A_MESH = "the pairs of a mesh speak v2 alone: write a classic pair below `pairs`"
_NOT_OF_A_MESH = "a mesh has no ends of its own: list its hosts in `nodes`"
_MESH_NODE_IS_NAMED = "a mesh's node has its name in `nodes`: remove this"
_OF_A_MESH_NODE = "belongs to a node: write it below one of `nodes`"

_IN_A_MESH: list[Key[Any]] = [
    *ANYWHERE,
    NODE_KEY._replace(elsewhere=_MESH_NODE_IS_NAMED),
    PROTOCOL_KEY._replace(elsewhere=_OF_A_MESH),
    SLOTS_KEY._replace(elsewhere=_OF_A_MESH),
]
MESH_NODE_KEYS = [*_IN_A_MESH, OWN_WIREGUARD_KEY]
_MESH_NODE = 'a mapping such as {local: ":5000"}, or {} to inherit everything'
MESH_NODE = _with_one_secret(mapping(MESH_NODE_KEYS, dict, _MESH_NODE))

OWN_MESH_KEYS: list[Key[Any]] = [
    Key("nodes", _mesh_nodes(), {}, "the hosts that it links, each with every other", REQUIRED),
    Key("hub", MESH_NODE_NAME, None, "the only node that the others are linked with", "none"),
]
"""What a mesh has and a pair has not."""

MESH_KEYS: list[Key[Any]] = [
    *OWN_MESH_KEYS,
    *_IN_A_MESH,
    OWN_WIREGUARD_KEY._replace(elsewhere=_OF_A_MESH_NODE),
    Key("a", END, None, "", elsewhere=_NOT_OF_A_MESH),
    Key("b", END, None, "", elsewhere=_NOT_OF_A_MESH),
]
_MESH = "a mapping such as {secret_file: lan.key, nodes: [home, office, cabin]}"
MESH = _with_one_secret(mapping(MESH_KEYS, dict, _MESH))

FILES = _files
"""The kind of `files`, whose templates' paths depend on the pair."""

_listens = one_or_list(LISTEN, "an address, or a list of them")
_observes = off_or(one_or_list(LISTEN, "an address, a list of them, or off"), ())
_relays = off_or(
    checked(
        one_or_list(LISTEN, "an address, a list of them, or off"),
        lambda them: values.ONE_PORT if len({each.port for each in them}) > 1 else "",
    ),
    (),
)
_publics = one_or_list(PUBLIC, "a public address, or a list of them")

_pem = _plain_path("a path such as /etc/letsencrypt/live/vps.example.net/fullchain.pem")

CONTROL_KEYS: list[Key[Any]] = [
    Key("name", CONTROL_NAME, "", "what pairs call it", "its `node`"),
    NODE_KEY,
    Key("address", CONTROL_ADDRESS, None, "where ends reach it", REQUIRED),
    Key("listen", _listens, (), "addresses to listen on", "the port of `address`, all addresses"),
    Key("observe", _observes, None, "second ports, which show how NATs map", "`listen`, port + 1"),
    Key("expire", DURATION, 60.0, "when a silent end is forgotten (classic slots: 95s)"),
    Key(
        "public", _publics, (), "where the Internet sees control's network", "the host of `address`"
    ),
    Key("relay", _relays, (), "where pairs are relayed that cannot be linked otherwise"),
    Key(
        "relay_ports",
        RELAY_PORTS,
        1,
        "how many ports it has, from that of `relay` on: as many pairs of a host may be relayed "
        "that `share` one port of it",
    ),
    Key("relay_rate", BIT_RATE, RELAY_RATE, "what a pair may send through the relay, both ways"),
    Key("relay_total", BIT_RATE, RELAY_TOTAL, "what all pairs together may"),
    Key(
        "tls",
        off_or(LISTEN, None),
        None,
        "where ends are served over TLS whose networks block UDP; it needs `relay`",
    ),
    Key("tls_certificate", _pem, None, "PEM file with the certificate", "one made at start"),
    Key("tls_key", _pem, None, "PEM file with the certificate's key", "`tls_certificate`"),
]
_CONTROL = 'a mapping such as {node: vps, address: "vps.example.net:10001"}'
CONTROL: Kind[Any] = mapping(CONTROL_KEYS, dict, _CONTROL)

_textfile = path("a path such as /var/lib/metrics/netpunch.prom", {"node"})
METRICS_KEYS: list[Key[Any]] = [
    Key(
        "textfile",
        _textfile,
        None,
        "file for the textfile collector of Prometheus; `{node}` in it is the host's node",
        REQUIRED,
    ),
]

_version_kind = scalar(VERSION, _version, schema={"enum": [int(VERSION), VERSION]})
_found_control = CONTROL._replace(read=lambda cursor: cursor.find(CONTROL.read))
_some_controls = one_or_list(_found_control, "a mapping with an `address`, or a list of them")
_status = path("a path such as /run/netpunch/status.sock", {"node"})
_metrics: Kind[Any] = mapping(
    METRICS_KEYS, dict, "a mapping such as {textfile: /var/lib/metrics/netpunch.prom}"
)

_file_path = path("a path such as pairs/home.yaml", ())
_found_path = _file_path._replace(read=lambda cursor: cursor.find(_file_path.read))
_includes = one_or_list(
    _found_path, "a file, a folder, pairs/, or a pattern, pairs/*.yaml; or a list of them"
)

SITE_KEYS: list[Key[Any]] = [
    Key("version", _version_kind, "", "version of the file format", REQUIRED),
    NODE_KEY._replace(doc="the node that a host is", default_text="its host name"),
    Key("control", _some_controls, (), "one control, or a list of them", REQUIRED),
    Key("defaults", _ref(PAIR, "pair"), {}, "what pairs, their ends and meshes inherit", "none"),
    Key("status", _status, None, "socket for `netpunch status`; may have `{node}`", "none"),
    Key("metrics", _metrics, None, "metrics for Prometheus", "none"),
    Key("pairs", _pairs(), {}, "the pairs, by name", "none, but needed without `meshes`"),
    Key("meshes", _meshes(), {}, "the meshes, by name", "none"),
    Key("include", _includes, (), "files with more pairs and meshes", "none"),
]
_SITE = "a mapping with `version: 1`, `control` and `pairs`"
SITE: Kind[Any] = mapping(SITE_KEYS, dict, _SITE, any_of=("pairs", "meshes", "include"))
"""A whole file. The value of `control` is a tuple of Found with the Settings of a control."""

_ONCE = "belongs in the site file that includes this one: it holds for all files"
INCLUDED_KEYS: list[Key[Any]] = [
    key if key.name in ("pairs", "meshes") else key._replace(elsewhere=_ONCE) for key in SITE_KEYS
]
_INCLUDED = "a mapping with `pairs`"
INCLUDED: Kind[Any] = mapping(INCLUDED_KEYS, dict, _INCLUDED, any_of=("pairs", "meshes"))
"""A whole included file."""
