"""The relay, when nothing else may pass: which controls have one, our binding there, its path.

To an end it is a path like any other: one of its sockets and one remote address, the relay's. It
ranks last, and is a candidate only once the end has waited for a more direct path. Shortly before,
it asks and binds; over a stream, as UDP is blocked then, before it has a partner. BIND and OBSERVE
are repeated often for 5 s, then each second.
"""

from __future__ import annotations

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.announcing import Announcer
from netpunch.core.end.binding import FIRST_COUNTER, Binding, BindingState
from netpunch.core.end.identity import AttemptHost
from netpunch.core.end.partners import Partners
from netpunch.core.end.relays import RelayAt
from netpunch.core.end.verdict import RelayOutcome
from netpunch.core.events import PathKind, Via
from netpunch.core.machine import NEVER
from netpunch.wire import v2
from netpunch.wire.drop import Drop


class Relaying:
    """In one attempt. `due_at`: when an earlier attempt at the same link was to begin with it."""

    def __init__(
        self,
        host: AttemptHost,
        announcer: Announcer,
        partners: Partners,
        *,
        due_at: float = NEVER,
    ) -> None:
        settings = host.resources.settings
        self._may_be_relayed = self.allowed = settings.may_be_relayed
        """Otherwise nothing is bound, and nothing that a relay passes on counts."""
        self._host = host
        self._relays = host.resources.relays
        self._announcer = announcer
        self._partners = partners
        self._due_at = due_at
        self._patience = timing.RELAY_AFTER_HOLDING if settings.holds else timing.RELAY_AFTER
        if settings.deadline is not None:
            self._patience = min(self._patience, settings.deadline / 2)
        self._has_begun = False
        """Whether controls are asked, and sockets bound."""
        self._is_tried = False
        """Whether relays are candidates."""
        self._is_over = False
        """Whether they have had their chance."""
        self._bindings: dict[tuple[Address, Via], Binding] = {}
        self._counter = FIRST_COUNTER

    # When.

    @property
    def due_at(self) -> float:
        """When relays become candidates, unless a path is valid by then."""
        proved_at = self._partners.proved_at
        patience = 0.0 if self._partners.udp_is_blocked else self._patience
        return min(self._due_at, NEVER if proved_at is None else proved_at + patience)

    def begin(self, due_at: float) -> None:
        """Waits no longer than until then for a more direct path, only for the partner."""
        self._due_at = min(self._due_at, due_at)

    def beside(self, kind: PathKind, now: float, *, works: bool) -> None:
        """The attempt is the successor of a link with a path of this kind. If that works it is not
        moved from relay to relay; if it is dead, there is little time for direct paths."""
        relayed = kind is PathKind.RELAY
        if not (works and relayed):
            self.allowed = self._may_be_relayed
        elif self._partners.proved_at is None:  # later the ends may be about to agree on a relay
            self.allowed = False
        if works:
            self._due_at = NEVER
        else:
            self.begin(now if relayed else now + timing.RELAY_LEAD)

    def may_help(self, now: float) -> bool:
        """Begins, as nothing else is left; whether a relay may still carry the link."""
        self.begin(now)
        return self.allowed and not self._is_over

    def next_timer(self) -> float:
        if not self._is_wanted:
            return NEVER
        bindings_at = min((each.next_at for each in self._bindings.values()), default=NEVER)
        if not self._has_partner:
            heard_at = self._announcer.streams_heard_at
            is_new = heard_at.keys() != self._bindings.keys()
            return min(heard_at.values()) if is_new else bindings_at
        if not self._has_begun:
            return self.due_at - timing.RELAY_LEAD
        decided_at = self._over_at if self._is_tried else self.due_at
        return min(bindings_at, NEVER if self._is_over else decided_at)

    def handle_timer(self, now: float) -> None:
        if not self._is_wanted:
            return
        if self._has_partner:
            if not self._has_begun and now < self.due_at - timing.RELAY_LEAD:
                return
            self._has_begun = True
            self._is_tried = now >= self.due_at
        self._follow_registrations(now)
        for binding in self._bindings.values():
            self._act(binding, now)
        self._is_over = self._is_tried and now >= self._over_at

    @property
    def _has_partner(self) -> bool:
        return self._partners.proved_at is not None

    @property
    def _is_wanted(self) -> bool:
        """Whether there is a partner, and there was no valid path to it when it was time."""
        if not self._has_partner:
            return self._binds_early
        return self.allowed and (self._has_begun or not self._partners.any_valid)

    @property
    def _binds_early(self) -> bool:
        """Whether nothing but a relay will help with any partner, as UDP is blocked."""
        return self.allowed and not self._has_partner and bool(self._announcer.streams_heard_at)

    @property
    def _over_at(self) -> float:
        """When the relays have had their chance."""
        some = any(each.state is not BindingState.NO_RELAY for each in self._bindings.values())
        return self.due_at + (timing.RELAY_PATIENCE if some else 0.0)

    # What controls and relays say.

    def is_asked(self, control: Address) -> bool:
        """Whether an answer of this control may count."""
        return any(each.control == control for each in self._bindings.values())

    def observed(self, message: v2.Observed, control: Address, now: float) -> bool:
        """Takes a control's answer; False if it was not asked for."""
        asked = any(each.echo == message.echo for each in self._bindings.values())
        if asked:
            self.learned(message, control, now)
        return asked

    def learned(self, message: v2.Observed, control: Address, now: float) -> None:
        """A control has said where it relays, whoever asked it."""
        port, ports = message.relay_port, 1 + message.relay_more
        self._relays.told(control, RelayAt(control.host, port, ports) if port else None)
        self._follow_registrations(now)
        for binding in self._bindings.values():
            if binding.control == control:
                binding.questions.stop()
                binding.named(self._relays.of(control, binding.via), now)
                self._act(binding, now)

    def receive(self, data: bytes, source: Address, now: float, via: Via) -> Drop | None:
        """Takes a datagram of a relay: UNEXPECTED_SOURCE if it is from elsewhere, UNEXPECTED if it
        answers no BIND."""
        here = [each for each in self._bindings.values() if (each.via, each.relay) == (via, source)]
        if not here:
            return Drop.UNEXPECTED_SOURCE
        message = self._host.resources.open_of_control(data)
        if isinstance(message, Drop):
            return message
        if not isinstance(message, v2.Challenge | v2.Bound) or message.counter < FIRST_COUNTER:
            return Drop.UNEXPECTED
        if message.attempt != self._host.identity.id:
            return Drop.WRONG_ATTEMPT
        # Two controls may have named the same relay.
        binding = next((each for each in here if each.expects(message.counter)), None)
        if binding is None:
            return Drop.STALE
        binding.answered(message, now)
        self._act(binding, now)
        return None

    def partner_changed(self, now: float) -> None:
        """There may be another partner attempt to try the relays with."""
        for binding in self._bindings.values():
            self._try(binding, now)

    @property
    def outcome(self) -> RelayOutcome:
        """What a verdict says of the relays: of the one that came nearest to carrying the link."""
        if not self.allowed:
            return RelayOutcome.NOT_ALLOWED
        if not self._is_tried:
            return RelayOutcome.NOT_TRIED
        outcomes = (each.outcome for each in self._bindings.values())
        return max(outcomes, default=RelayOutcome.UNKNOWN)

    @property
    def silent(self) -> tuple[Address, ...]:
        """The relays that have answered nothing."""
        unbound = (b for b in self._bindings.values() if b.state is BindingState.UNBOUND)
        return tuple(binding.relay for binding in unbound if binding.relay is not None)

    # What is sent.

    def _follow_registrations(self, now: float) -> None:
        """Each control that we announce to may relay, for the socket that announces there. Before
        there is a partner only those over streams do."""
        announcer = self._announcer
        places = announcer.places if self._has_partner else list(announcer.streams_heard_at)
        for key in self._bindings.keys() - set(places):
            del self._bindings[key]
        for control, via in places:
            if (control, via) in self._bindings:
                continue
            is_stream = via in self._host.resources.streams.controls
            echo = self._host.resources.random(v2.ECHO_LENGTH)
            retries = timing.STREAM_RETRIES if is_stream else timing.RELAY_RETRIES
            binding = self._bindings[control, via] = Binding(control, via, echo, retries, now)
            relay = self._relays.of(control, via)
            if relay is not None:
                binding.named(relay, now)
            if is_stream:  # its far end is the relay: there is nothing to ask
                binding.questions.stop()

    def _act(self, binding: Binding, now: float) -> None:
        """Sends what is due, and tries what is bound."""
        if not (self._has_begun or self._binds_early):
            return
        resources = self._host.resources
        binding.ask(resources, now)
        if binding.binds.due(now):
            if resources.settings.share and binding.refused(now):
                self._relays.skip(binding.control, binding.via)
                binding.skipped(self._relays.of(binding.control, binding.via))
            self._counter += 1
            binding.bind(resources, self._host.identity.id, self._counter, now)
        self._try(binding, now)

    def _try(self, binding: Binding, now: float) -> None:
        """A bound relay is a candidate of every partner attempt that is alive."""
        if not self._is_tried or binding.state is not BindingState.BOUND:
            return
        assert binding.relay is not None
        for partner in self._partners.by_id.values():
            if partner.checks.proved:
                partner.checks.add_relay(binding.via, binding.relay, now)
