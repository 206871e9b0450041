"""Findings about the network: what was measured, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netpunch.address import Address, is_loopback, is_nat64, is_private
from netpunch.core.end.verdict import SILENCE_ADVICE
from netpunch.core.observing import Answer
from netpunch.core.settings import EndSettings
from netpunch.core.traversal.nat import NatReport
from netpunch.doctor.finding import Finding, fail, halves, ok, warn
from netpunch.doctor.measuring import ControlSeen, Network
from netpunch.errors import ControlUnreachableError
from netpunch.net.observation import GatewayOffer, NatSurvey
from netpunch.wire.card import NatClass

NAT_CLASSES = {
    NatClass.OPEN: "no NAT: this host's own address is seen",
    NatClass.EASY: "endpoint-independent mapping (easy: one port for all destinations)",
    NatClass.HARD_STEP: "symmetric: another port for each destination, in steps",
    NatClass.HARD_RANDOM: "symmetric: a random port for each destination",
}
TUNNEL_OVERHEAD = 80
"""Bytes of WireGuard's header with UDP and IPv6, the longest of usual ones."""
NO_MAPPING = (
    "switch it on in the router, which may call it UPnP, or leave `mapped` out of `candidates`"
)
UPNP = "UPnP: not asked, netpunch does not use it"
"""That would be a multicast to all devices of this host's network."""
LEAST_MTU = 1280
"""IPv6 needs so much inside a tunnel."""

LISTENS_CURE = (
    "likely it has another key or name for this pair, or is of another version: `netpunch key id "
    "PAIR FILE` must print the same at both; control's own output says `rejected`. Else a firewall "
    "there drops this port alone: open it"
)

UNREACHABLE = ControlUnreachableError.exit_code


def control(name: str, seen: ControlSeen, *, runs_here: bool = False) -> Iterator[Finding]:
    """Its name, addresses and answer. `runs_here`: it is a process of this host."""
    where = f"{seen.at.host} -> {', '.join(map(str, seen.addresses))}"
    if not seen.addresses:
        what, cure = halves(seen.problem)
        yield fail("control", f"{name}: {what}", cure, code=UNREACHABLE)
        return
    if str(seen.addresses[0].host) == seen.at.host:
        where = ", ".join(map(str, seen.addresses))
    if seen.tunnel:
        what, found, cure = seen.tunnel.partition(": ")
        yield warn("route", what, cure if found else "set `mark` or `interface`")
    if not seen.replies:
        yield warn("control", f"{name}: {where}, not asked: no v2 key of it", "see `key`")
    elif seen.answer is not None:
        yield ok(
            "control", f"{name}: {where}, answers in {_ms(seen.answer.rtt)}{_silent_ones(seen)}"
        )
    elif runs_here and seen.tls is None:
        text = f"{name}: {where} does not answer from here, though it runs on this host"
        cure = "open its UDP port in the firewall, unless only the router turns nothing around"
        yield warn("control", text, cure)
    else:
        yield _silent(name, where, seen)


def _silent(name: str, where: str, seen: ControlSeen) -> Finding:
    replies = seen.replies.values()
    refused = [reply for reply in replies if reply.refused]
    tunnel, _, way_out = seen.tunnel.partition(": ")
    unsent = next((reply.error for reply in replies if reply.error), "")
    if seen.tls is not None:
        text = f"{name}: {where} is silent on UDP, but answers over TLS: UDP is blocked here"
        return warn("control", text, "allow UDP out, at least to control and to the partner")
    if tunnel:
        text, cure = f"{name}: {where} is silent, and {tunnel}", way_out
    elif unsent:
        text, cure = f"{name}: {where}: this system does not send ({unsent})", "see `ip route`"
    elif refused:
        text = f"{name}: {where}: nothing listens there, says that host"
        cure = "start control there (`netpunch run`), or correct `address`"
    elif seen.refuses_others:
        text = (
            f"{name}: {where} is silent, though datagrams get there: its host refuses other ports"
        )
        cure = LISTENS_CURE
    elif all(address.family == 6 for address in seen.addresses) and not seen.other:
        text = f"{name}: {where} is silent, and has no other address"
        host = seen.addresses[0].host
        cure = f"either IPv6 is broken here or there (`ping -6 {host}` tells; give control an IPv4 "
        cure += f"address, too), or {SILENCE_ADVICE.removeprefix('either ')}"
    else:
        text = f"{name}: {where} is silent{_tls_too(seen)}"
        cure = f"{SILENCE_ADVICE}. (A host that asks often is not answered for a minute.)"
    return fail("control", text, cure, code=UNREACHABLE)


def _silent_ones(seen: ControlSeen) -> str:
    """Addresses of one name that do not answer while another does."""
    heard = {address for (_, address), reply in seen.replies.items() if reply.answer}
    silent = [str(address) for address in seen.addresses if address not in heard]
    return f" ({', '.join(silent)} silent)" if silent else ""


def _tls_too(seen: ControlSeen) -> str:
    return ", over TLS too" if seen.tls_asked else ""


def key_at(
    name: str,
    seen: ControlSeen,
    owner: str,
    pair: str,
    fingerprint: str,
    *,
    has_other: bool = False,
) -> Finding | None:
    """Whether a control has the key of a pair: an answer proves it. Silence to this key alone does
    not prove the opposite: a control answers a host that has no end registered some 16 times, then
    once in 4 seconds, for each pair. None if it is not known for a reason that stands elsewhere."""
    if seen.has_key(owner):
        return ok("key", f"{fingerprint}; control {name} has the matching one", pair)
    if not seen.was_asked(owner) or seen.answer is None:
        return None
    if has_other:
        text = f"{fingerprint}; control {name} has only the other of the two"
        return warn("key", text, "add it there, or drop it here once all have the other", pair)
    return fail(
        "key",
        f"{fingerprint}; control {name} answers other keys, but not this one",
        f"`netpunch key id` must print {fingerprint} there; reload control; if it does, ask again "
        "in a minute, as it answers one host only so often",
        pair,
        code=UNREACHABLE,
    )


def observe(seen: dict[str, ControlSeen], nat: NatSurvey | None) -> Iterator[Finding]:
    """The second port, by which ends learn how their NATs map."""
    answering = {name: each for name, each in seen.items() if each.answer is not None}
    if not answering:
        return
    silent = {address.port for address in nat.silent} if nat else set()
    ports = {name: each.at.observe for name, each in answering.items()}
    if nat is not None and not nat.seen:
        text = "control has answered once, and not the survey that followed"
        yield warn("observe", text, "ask again in a minute: it answers one host only so often")
        return
    for name, number in ports.items():
        if number is None and len(answering) == 1:
            text = f"control {name} has no second port: how NATs map is not known"
            yield warn(
                "observe", text, "leave out `observe: off` at control, or use a second control"
            )
        elif number in silent:
            text = f"port {number} of {name} is silent"
            yield warn("observe", text, "open it in control's firewall to learn how this NAT maps")
        elif number is not None and nat is not None:
            yield ok("observe", f"port {number} of {name} answers")
            return


def nat(survey: NatSurvey | None, network: Network) -> Iterator[Finding]:
    """How this host's NAT maps, and where it is seen."""
    if survey is None:
        if any(each.answer for each in network.controls.values()):
            yield ok("NAT", "not known: control is on this host's loopback")
        return
    report = survey.report
    if not survey.seen:
        yield warn("NAT", "not known", "see `observe`")
        return
    hosts = ", ".join(dict.fromkeys(each.host for each in survey.seen))
    inside = all(is_private(each.host) for each in survey.seen)
    where = f"seen at {hosts}" if inside else f"public address {hosts}"
    if report.nat_class is NatClass.UNKNOWN:
        yield _nat_not_known(survey, where)
        return
    ports = (
        ""
        if survey.preserves_ports is None or report.nat_class is NatClass.OPEN
        else (", port preserved" if survey.preserves_ports else ", port not preserved")
    )
    yield _nat_known(report, f"{NAT_CLASSES[report.nat_class]}{ports}; {where}", survey)
    if survey.looped_back is not None:
        works = "yes" if survey.looped_back else "no"
        yield ok("hairpin", f"{works} (needed only where both ends are behind this router)")


def _nat_known(report: NatReport, text: str, survey: NatSurvey) -> Finding:
    hosts = {each.host for each in survey.seen if each.family == 4}
    if len(hosts) > 1:
        return warn("NAT", text, "the router uses several uplinks: bind this host to one of them")
    if report.nat_class is NatClass.HARD_RANDOM:
        cure = "for more direct links: IPv6, or a UDP port forwarded to `local` (`mapped`)"
        return warn("NAT", text, cure)
    return ok("NAT", text)


def _nat_not_known(survey: NatSurvey, where: str) -> Finding:
    if any(is_private(each.host) for each in survey.seen):
        text = f"not known: control is in this host's network, or behind a translation; {where}"
        return warn(
            "NAT", text, "set `public` at control, or give its container the host's network"
        )
    return warn("NAT", f"how it maps is not known; {where}", "see `observe`")


def translations(network: Network) -> Iterator[Finding]:
    """Whether there are two NATs in a row: the router's own address is not the public one."""
    public = {each.host for each in (network.nat.seen if network.nat else ())}
    if any(_is_shared(host) for host in network.hosts):
        text = "this host's address is a carrier's (100.64.0.0/10): a carrier-grade NAT"
        yield warn("CGNAT", text, "ask the provider for a public address, or use IPv6")
        return
    for offer in network.gateways:
        external = offer.external
        if not external or not public or external in public:
            continue
        kind = "a carrier-grade NAT" if _is_shared(external) else "a second NAT"
        text = f"behind the router's address {external} there is {kind}: no port can be forwarded"
        yield warn("CGNAT", text, "ask the provider for a public address, or use IPv6")
        return
    second = network.second_router
    if public and (_is_shared(second) or (second and is_private(second))):
        text = f"behind the router there is another, {second}: likely a second NAT"
        cure = (
            "links pass both; to forward a port, do it at both, have one of them only bridge, or "
            "use IPv6"
        )
        yield warn("CGNAT", text, cure)


def mapping(offers: Iterable[GatewayOffer], *, wanted: bool) -> Iterator[Finding]:
    """What gateways offer; `wanted`: `mapped` is among the candidates of an end."""
    asked = list(offers)
    offering = [offer for offer in asked if (offer.pcp, offer.nat_pmp) != (None, None)]
    if asked and not offering:
        routers = " and ".join(offer.gateway.host for offer in asked)
        text = f"no answer to PCP or NAT-PMP (asked {routers}); {UPNP}"
        yield warn("mapping", text, NO_MAPPING) if wanted else ok("mapping", text)
    for offer in offering:
        told = [f"PCP: {_yes(offer.pcp)}"]
        if ":" not in offer.gateway.host:
            told.append(f"NAT-PMP: {_yes(offer.nat_pmp)}")
        text = f"{'; '.join(told)} (router {offer.gateway.host})"
        if not (offer.pcp or offer.nat_pmp):
            text = f"{text}; {UPNP}"
        if wanted and not (offer.pcp or offer.nat_pmp):
            yield warn("mapping", text, NO_MAPPING)
        else:
            yield ok("mapping", text)


def ipv6(network: Network) -> Iterator[Finding]:
    """This host's IPv6, and where controls see it."""
    own = [host for host in network.hosts if ":" in host and not is_private(host)]
    seen = next(
        (
            answer.observed.host
            for answer in _ipv6_answers(network)
            if not is_private(answer.observed.host)
        ),
        None,
    )
    if (unanswered := _unanswered_ipv6(network)) is not None:
        text = f"{unanswered}, an address of control, does not answer, while IPv4 works"
        cure = f"IPv4 is used. `ping -6 {unanswered}` tells whether IPv6 is broken here or there"
        yield warn("IPv6", text, cure)
    elif seen is not None:
        source = f" from {own[0]}" if own else ""
        text = "inbound needs punching, too" if seen in own else f"translated{source}"
        yield ok("IPv6", f"{seen}, {text}")
    elif own:
        yield ok("IPv6", f"{own[0]}; no control was reached over it")
    else:
        yield ok("IPv6", "this host has none")
    if any(is_nat64(each.host) for each in _asked(network)):
        yield ok("NAT64", "this host reaches IPv4 by a translator")


def _unanswered_ipv6(network: Network) -> str | None:
    """An IPv6 address of a control that answers over IPv4."""
    for each in network.controls.values():
        reply = each.other_reply
        if each.answer and each.other and reply and not reply.answer and each.other[0].family == 6:
            return each.other[0].host
    return None


def _ipv6_answers(network: Network) -> Iterator[Answer]:
    for each in network.controls.values():
        replies = [*each.replies.values(), *([each.other_reply] if each.other_reply else [])]
        yield from (r.answer for r in replies if r.answer and r.answer.observed.family == 6)


def _asked(network: Network) -> Iterator[Address]:
    return (address for each in network.controls.values() for address in each.addresses)


def relay(seen: dict[str, ControlSeen], settings: list[EndSettings]) -> Iterator[Finding]:
    """Whether controls relay, and take TLS."""
    for name, each in seen.items():
        if each.relay_port:
            yield ok("relay", f"{name} relays, port {each.relay_port}")
        elif each.relay_port == 0 and any(end.may_be_relayed for end in settings):
            yield ok("relay", f"{name} has none (only symmetric NATs and blocked UDP need one)")
        if each.tls is not None:
            yield ok("TLS", f"{name} answers over TLS")
        elif each.tls_asked and each.at.tls is not None:
            cure = "open that TCP port in control's firewall; is another server there?"
            yield warn("TLS", f"{name} does not answer over TLS, port {each.at.tls}", cure)


def path_mtu(seen: dict[str, ControlSeen]) -> Iterator[Finding]:
    """The longest packets on the way to controls, as far as this host knows without probing."""
    known = {
        name: max((reply.mtu for reply in each.replies.values()), default=0)
        for name, each in seen.items()
        if not any(is_loopback(address.host) for address in each.addresses)
    }
    for name, mtu in known.items():
        inside = mtu - TUNNEL_OVERHEAD
        if mtu and inside < LEAST_MTU:
            text = f"{mtu} towards {name}, as far as this host knows"
            yield warn("MTU", text, f"set the tunnel's MTU to {inside} or less (`MTU = {inside}`)")
        elif mtu:
            yield ok("MTU", f"{mtu} towards {name}: a tunnel's MTU may be {min(inside, 1420)}")


def _yes(told: bool | None) -> str:
    return "no answer" if told is None else "yes" if told else "no"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"


def _is_shared(host: str) -> bool:
    """RFC 6598."""
    first, _, rest = host.partition(".")
    return first == "100" and 64 <= int(rest.partition(".")[0]) < 128
