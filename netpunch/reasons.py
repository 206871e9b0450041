"""Every `reason` of events, and what it means in a few words for people."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why an end waits, has failed or has lost its link, and why a control misses one."""

    # While the ends look for each other.
    NO_CONTROL = "no_control"
    """No control's name resolves, or none has an address of the local one's family."""
    SECRET_REJECTED_OR_SILENT = "secret_rejected_or_silent"  # noqa: S105 - a reason
    """No control answered at all: down, firewalled, or it does not accept this secret."""
    PARTNER_ABSENT = "partner_absent"
    """Control answers, the partner is not there."""
    BLOCKED = "blocked"
    """Introduced, but no datagram got through."""
    INFEASIBLE = "infeasible"
    """Introduced, but these two NATs let nothing through, whatever is tried."""
    SPRAY_QUEUE = "spray_queue"
    """It is another end's turn, in this process or the partner's, to use many sockets or probes
    against a hard NAT; one at a time does. The deadline stands still meanwhile."""
    NOT_AGREED = "not_agreed"
    """Datagrams passed, but the hand-off was not completed."""
    ROLE_CONFLICT = "role_conflict"
    """Another machine announces the same end of the pair; both displace each other."""
    PARTNER_MODE = "partner_mode"
    """One end wants to hold the link (keep without command or check), the other hands it over."""

    # In this process or on this host.
    PORT_IN_USE = "port_in_use"
    PERMISSIONS = "permissions"
    CONFIGURATION = "configuration"
    RESOURCES = "resources"
    """No descriptors, memory or processes are left."""
    NETWORK_NOT_READY = "network_not_ready"
    """The local address or the interface is not there yet."""
    UNRESOLVED = "unresolved"
    """The name of the local program, `forward.to`, has no address for now."""
    OUTPUT = "output"
    """A file could not be written."""
    HOOK = "hook"
    """`before` or `up` failed."""
    BUG = "bug"
    STOPPED = "stopped"
    """The process or a reload ended it."""

    # How a link that was up is lost.
    SILENT = "silent"
    """No keepalive was answered; of a control: the end no longer announces itself."""
    CHECK = "check"
    """`check` failed."""
    COMMAND = "command"
    """`command` has ended."""
    PARTNER_RETURNED = "partner_returned"
    """The partner wants to punch anew."""
    PARTNER_STOPPED = "partner_stopped"
    """The partner has ended the link: it is stopped, or its configuration has changed."""
    LEFT = "left"
    """Of a control: the end has said that it leaves."""
    REMOVED = "removed"
    """Of a control: a reload has removed the pair or changed its key."""


WORDS = {
    Reason.NO_CONTROL: "control not found",
    Reason.SECRET_REJECTED_OR_SILENT: "no answer from control",
    Reason.PARTNER_ABSENT: "partner not there",
    Reason.BLOCKED: "nothing gets through",
    Reason.INFEASIBLE: "these NATs let nothing through",
    Reason.SPRAY_QUEUE: "another pair of this host probes first",
    Reason.NOT_AGREED: "partner did not confirm the path",
    Reason.ROLE_CONFLICT: "this end is configured on another machine, too",
    Reason.PARTNER_MODE: "one end holds the link, the other hands it over",
    Reason.PORT_IN_USE: "port in use",
    Reason.PERMISSIONS: "not permitted",
    Reason.CONFIGURATION: "configuration",
    Reason.RESOURCES: "out of resources",
    Reason.NETWORK_NOT_READY: "network not ready",
    Reason.UNRESOLVED: "local program not found",
    Reason.OUTPUT: "cannot write a file",
    Reason.HOOK: "hook failed",
    Reason.BUG: "bug in netpunch",
    Reason.STOPPED: "stopped",
    Reason.SILENT: "silent",
    Reason.CHECK: "check failed",
    Reason.COMMAND: "command ended",
    Reason.PARTNER_RETURNED: "partner punches anew",
    Reason.PARTNER_STOPPED: "partner ended the link",
    Reason.LEFT: "left",
    Reason.REMOVED: "pair removed",
}


def in_words(reason: object) -> str:
    """For people; a reason that only another version knows stays as it is."""
    return WORDS.get(reason, str(reason))  # type: ignore[call-overload, no-any-return]
