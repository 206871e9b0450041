"""The faults that users meet, and what netpunch prints about each: the one table, to which tests
hold the program and from which docs/troubleshooting.md has its own."""

from __future__ import annotations

from typing import NamedTuple

WITHIN = 15.0
"""Seconds after which the first complaint is there, at the latest."""
GAP = "..."
"""In the words that are expected: anything may stand there."""


class Sign(NamedTuple):
    """What `netpunch COMMAND` complains about first, on the host `node`: words that name the cause
    and the cure. Without a cure all is well: it says `cause`, and complains about nothing."""

    command: str
    node: str
    cause: str
    cure: str = ""
    within: float = WITHIN

    @property
    def says_nothing(self) -> bool:
        return not self.cure

    def is_in(self, text: str) -> bool:
        """Whether the complaint names both."""
        return _has(text, self.cause) and _has(text, self.cure)


def _has(text: str, words: str) -> bool:
    """All parts of the words, in order."""
    at = 0
    for part in words.split(GAP):
        at = text.find(part.strip(), at)
        if at < 0:
            return False
        at += len(part.strip())
    return True


class Fault(NamedTuple):
    """`wrong`: what is wrong, in a user's words; `network`: it is provoked in namespaces."""

    name: str
    wrong: str
    signs: tuple[Sign, ...]
    network: bool = False


KEY_OR_NAME = "`netpunch key id PAIR FILE` must print the same at both"
SAME_FILE = "write the same into the files of both"
STOP_ONE = "stop one of them, or make it the pair's other end"
CONTROL_SAYS = "control's own output says `rejected`"
RESOLVER = "check the network and /etc/resolv.conf, or give the IP address"
CONTAINER = "give a container the host's network"
NO_UDP = "either no UDP gets through...or control has another key or name for this pair"
ALLOW_UDP = "allow its port in the firewalls here, there and at its provider"
FIREWALL_THERE = "Else a firewall there drops this port alone"
LISTENS = "datagrams get there...another key or name for this pair, or is of another version"

FAULTS = (
    Fault("wrong key", "an end has another key than control and its partner", (
        Sign("run", "vps", "for p rejected...the key of that end differs", KEY_OR_NAME),
        Sign("run", "home", LISTENS, KEY_OR_NAME),
        Sign("doctor", "home", LISTENS, KEY_OR_NAME),
    )),
    Fault("control's key", "an end has control's key instead of the pair's", (
        Sign("run", "home", "this is control's key (npc1:)", "copy it from the other end"),
        Sign("doctor", "home", "this is control's key (npc1:)", "copy it from the other end"),
    )),
    Fault("closed port", "control does not run, or listens at another port", (
        Sign("run", "home", "nothing listens there", "start control"),
        Sign("doctor", "home", "nothing listens there", "start control"),
    )),
    Fault("pair names differ", "an end calls the pair something else than control", (
        Sign("run", "vps", "no pair of this file has its name", SAME_FILE),
        Sign("run", "home", LISTENS, KEY_OR_NAME),
        Sign("doctor", "home", LISTENS, KEY_OR_NAME),
    )),
    Fault("both ends a", "both hosts run end a", (
        Sign("run", "vps", "configured on two machines", STOP_ONE),
        Sign("run", "home", "another machine announces itself as this end", STOP_ONE),
        Sign("run", "office", "another machine announces itself as this end", STOP_ONE),
    )),
    Fault("node name", "the file has no node of this host's name", (
        Sign("run", "nobody", "no part runs on 'nobody'", "choose one of home, office, vps"),
        Sign("doctor", "nobody", "no part runs on 'nobody'", "choose one of home, office, vps"),
    )),
    Fault("missing capability", "`share` without CAP_NET_RAW", (
        Sign("run", "home", "needs CAP_NET_RAW", "add `AmbientCapabilities=CAP_NET_RAW`"),
        Sign("doctor", "home", "lacks CAP_NET_RAW", "add `AmbientCapabilities=CAP_NET_RAW`"),
    )),
    Fault("hook", "a hook is not executable", (
        Sign("run", "home", "hooks.up:...not executable", "`chmod +x` it"),
        Sign("doctor", "home", "hooks.up:...not executable", "`chmod +x` it"),
    )),
    Fault("env folder", "the folder of `env_file` does not exist", (
        Sign("run", "home", "the folder of `env_file` is missing", "`mkdir -p ...`"),
        Sign("doctor", "home", "env_file: there is no folder", "`mkdir -p ...`"),
    )),
    Fault("file permissions", "others may read the key", (
        Sign("run", "home", "others may read...p.key", "`chmod 600 ...`"),
        Sign("doctor", "home", "others may read...p.key", "`chmod 600 ...`"),
    )),
    Fault("unreadable key", "the key belongs to another user", (
        Sign("run", "home", "p.key can't be read (Permission denied)", "`chown` it"),
        Sign("doctor", "home", "p.key can't be read (Permission denied)", "`chown` it"),
    )),
    Fault("clock", "a clock is a year off", (
        Sign("run", "home", "linked"),
        Sign("run", "office", "linked"),
        Sign("run", "vps", "is at"),
    )),
    Fault("wrong protocol", "an end has `protocol: classic`, the others not", (
        Sign("run", "home", "the key of a v2 pair, but `protocol: classic`", "leave that out"),
        Sign("doctor", "home", "the key of a v2 pair, but `protocol: classic`", "leave that out"),
        Sign("run", "vps", "no pair of this file has its name and protocol", SAME_FILE),
    )),
    Fault("classic control", "control has `protocol: classic`, the ends not", (
        Sign("run", "vps", "the key of a v2 pair, but `protocol: classic`", "leave that out"),
        Sign("run", "home", LISTENS, CONTROL_SAYS),
        Sign("doctor", "home", LISTENS, CONTROL_SAYS),
    )),
    Fault("version of control", "control is of another version than the ends", (
        Sign("run", "vps", "perhaps of another version", "install the same one at both"),
        Sign("run", "home", LISTENS, CONTROL_SAYS),
        Sign("doctor", "home", LISTENS, CONTROL_SAYS),
    )),
    Fault("disk full", "the file system of `env_file` is full", (
        Sign("run", "home", "p.env: No space left on device", "free some space"),
        Sign("doctor", "home", "env_file: no space is left", "free some space"),
    )),
    Fault("one direction", "UDP passes between the ends in one direction only", (
        Sign("run", "home", "partner's datagrams arrive, but none of this end's reach the partner",
             "a firewall here drops outgoing UDP, or one at the partner incoming UDP: allow it"),
        Sign("run", "office", "the partner is there, but nothing it sends arrives",
             "does a firewall at either end, or between them, drop UDP"),
    ), network=True),
    Fault("wrong control name", "control's name is misspelt", (
        Sign("run", "home", "there is no such name", "check its spelling"),
        Sign("doctor", "home", "there is no such name", "check its spelling"),
    ), network=True),
    Fault("dead name server", "the name server does not answer", (
        Sign("run", "home", "no name server has answered", RESOLVER),
        Sign("doctor", "home", "no name server has answered", RESOLVER),
    ), network=True),
    Fault("port of WireGuard", "WireGuard has the port", (
        Sign("run", "home", ":5000 is in use by wireguard-go", "`share: on`"),
        Sign("doctor", "home", "UDP 5000 is owned by wireguard-go", "`share: on`"),
    ), network=True),
    Fault("UDP blocked", "a firewall here blocks UDP, control answers over TLS", (
        Sign("run", "home", "over TLS: a firewall here drops UDP", "Allow UDP to that address"),
        Sign("doctor", "home", "answers over TLS: UDP is blocked here", "allow UDP out"),
    ), network=True),
    Fault("UDP and TLS blocked", "a firewall blocks UDP, and TLS too", (
        Sign("run", "home", NO_UDP, ALLOW_UDP),
        Sign("doctor", "home", NO_UDP, ALLOW_UDP),
    ), network=True),
    Fault("port dropped", "the firewall of control's host drops control's port", (
        Sign("run", "home", FIREWALL_THERE, "open it"),
        Sign("doctor", "home", FIREWALL_THERE, "open it"),
    ), network=True),
    Fault("symmetric NAT", "this end is behind a symmetric NAT", (
        Sign("doctor", "home", "symmetric: a random port for each destination",
             "IPv6, or a UDP port forwarded to `local`"),
    ), network=True),
    Fault("double NAT", "this end is behind two NATs", (
        Sign("doctor", "home", "behind the router there is another...likely a second NAT",
             "to forward a port, do it at both"),
    ), network=True),
    Fault("control behind translation", "a container's published port hides who asks control", (
        Sign("run", "vps", "something there hides the sender", CONTAINER),
        Sign("run", "home", "sees this end at...a private address", "give it the host's network"),
        Sign("doctor", "home", "control is in this host's network, or behind a translation",
             "give its container the host's network"),
    ), network=True),
    Fault("VPN route", "the route to control leads into the VPN", (
        Sign("run", "home", "leads into the tunnel tun0", "set `mark: 51820`"),
        Sign("doctor", "home", "leads into the tunnel tun0", "set `mark: 51820`"),
    ), network=True),
    Fault("IPv6 broken", "IPv6 is broken here, IPv4 works", (
        Sign("run", "home", "linked"),
        Sign("doctor", "home", "does not answer, while IPv4 works", "`ping -6 ...` tells whether"),
    ), network=True),
    Fault("only IPv6, broken", "IPv6 is broken here, and control has no other address", (
        Sign("run", "home", "either IPv6 is broken here or there", "give it an IPv4 address, too"),
        Sign("doctor", "home", "either IPv6 is broken here or there",
             "give control an IPv4 address, too"),
    ), network=True),
    Fault("rate limit", "the provider limits the rate of UDP", (
        Sign("doctor", "home", "loses...of its latest pings",
             "a router or provider limits the rate of UDP, or the line is bad: `ping"),
    ), network=True),
)  # fmt: skip
