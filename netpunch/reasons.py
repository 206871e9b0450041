"""Every `reason` of events: its name, its meaning, and a few words for people."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why an end waits, has failed or has lost its link, and why a control misses one."""

    words: str
    """A few words for people."""

    def __new__(cls, name: str, words: str = "") -> Reason:
        reason = str.__new__(cls, name)
        reason._value_, reason.words = name, words
        return reason

    # While the ends look for each other.
    NO_CONTROL = "no_control", "control not found"
    """No control's name resolves (it is looked up again meanwhile), or none has an address of a
    family that this host has."""
    SECRET_REJECTED_OR_SILENT = "secret_rejected_or_silent", "no answer from control"
    """No control answers: it is down, firewalled, or has another key (a wrong key is met with
    silence; control's log then has `auth.rejected` with `bad_mac`)."""
    PARTNER_ABSENT = "partner_absent", "partner not there"
    """Control answers, the partner is not there."""
    BLOCKED = "blocked", "nothing gets through"
    """Introduced, but nothing gets through: told after 8 s, with what is known of the cause, and at
    the deadline."""
    INFEASIBLE = "infeasible", "these NATs let nothing through"
    """Introduced, but these two NATs let nothing through, whatever is tried."""
    SPRAY_QUEUE = "spray_queue", "another pair of this host probes first"
    """Another pair of this process, or of the partner's, probes a hard NAT; one at a time does. The
    deadline stands still meanwhile, for half an hour at most."""
    UDP_BLOCKED = "udp_blocked", "UDP is blocked here"
    """Control answers over TLS, but not over UDP. A link that netpunch holds is relayed over TLS;
    others fail."""
    NOT_AGREED = "not_agreed", "partner did not confirm the path"
    """Datagrams pass, but the partner did not confirm the path."""
    ROLE_CONFLICT = "role_conflict", "this end is configured on another machine, too"
    """Another machine announces the same end of this pair, and both displace each other: stop one,
    or correct its `a`/`b`."""
    PARTNER_MODE = "partner_mode", "the ends differ in what they do with the link"
    """One end holds the link (`keep` without command or check), the other hands its port over; or
    one seals what `forward` carries, and the other does not."""

    # In this process or on this host.
    PORT_IN_USE = "port_in_use", "port in use"
    """Another process has the local port."""
    NO_PROGRAM = "no_program", "no program has the port"
    """With `share`: no program of this host has the local port, or the one that had it has ended or
    was restarted; looked for each second."""
    PERMISSIONS = "permissions", "not permitted"
    """A file or a port is not permitted, or others may read a secret."""
    CONFIGURATION = "configuration", "configuration"
    """The configuration is wrong."""
    RESOURCES = "resources", "out of resources"
    """No descriptors, memory or processes are left; tried again."""
    NETWORK_NOT_READY = "network_not_ready", "network not ready"
    """The local address or the interface is not there yet; tried again."""
    UNRESOLVED = "unresolved", "local program not found"
    """The name of the local program, `forward.to`, does not resolve; tried again."""
    OUTPUT = "output", "cannot write a file"
    """An env file or rendered file could not be written."""
    HOOK = "hook", "hook failed"
    """`before` or `up` failed, or asked to be called later."""
    BUG = "bug", "bug in netpunch"
    """An error in netpunch; exit code 70."""
    STOPPED = "stopped", "stopped"
    """The process was stopped, or a reload ended this end."""

    # How a link that was up is lost, or an end that was registered.
    SILENT = "silent", "silent"
    """`pair.down`: nothing came for `hold_for`, and no other path was found; `control.expired`: the
    end no longer announces itself."""
    CHECK = "check", "check failed"
    """`pair.down`: the check failed twice."""
    COMMAND = "command", "command ended"
    """`pair.down`: the command has ended."""
    PARTNER_RETURNED = "partner_returned", "partner punches anew"
    """`pair.down`: another program has the port, and the partner punches anew."""
    PARTNER_STOPPED = "partner_stopped", "partner ended the link"
    """`pair.down`: the partner has ended the link: it is stopped, or its configuration has
    changed."""
    LEFT = "left", "left"
    """`control.expired`: the end has said that it leaves."""
    REMOVED = "removed", "pair removed"
    """`control.expired`: a reload has removed the pair or changed its key."""


def in_words(reason: str) -> str:
    """For people; a reason that only another version knows stays as it is."""
    try:
        return Reason(reason).words
    except ValueError:
        return reason
