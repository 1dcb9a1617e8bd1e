"""Sending to a topic's subscriber: a handshake first, then events in order of their numbers, or a heartbeat."""

from collections.abc import Sequence
from dataclasses import replace

from consilium.sending import Lane
from fhir_adapters.subscriptions.status import hold, tell
from fhir_adapters.subscriptions.topic_messages import Kind, Told, message_of
from record_store import notifications, subscriptions
from record_store.times import to_text


class TopicLane(Lane):
    """What a bundle may hold is `Asked.max_count` events; what its owner may not see is left out."""

    def run(self) -> None:
        """Send until nothing is due, the endpoint is to be left alone, or the time is over."""
        if self.held.status == subscriptions.REQUESTED and not self._shakes_hands():
            return
        while self.may_go_on():
            with self.sending.db.read() as conn:
                due = notifications.due_in_order(conn, self.held.id, self.sending.now(), self.asked.max_count)
            if not due:
                self._heartbeat()
                return
            seen = [(one, self.seen_by_owner(one)) for one in due]
            self.withhold([one for one, found in seen if found is None])
            told = [Told(one, found) for one, found in seen if found is not None]
            if told and not self._send(Kind.EVENT, told):
                return

    def _shakes_hands(self) -> bool:
        """Make it active when the endpoint takes a handshake, else say why not (backport, REST-Hook)."""
        house, own = self.sending, self.held.id
        message = message_of(self.held, Kind.HANDSHAKE, (), base_url=house.base_url, now=house.now())
        answer = house.send(message, self.asked.timeout_s)
        status = subscriptions.ACTIVE if answer.problem is None else subscriptions.ERROR
        with house.db.write() as conn:
            hold(conn, own)
            tell(conn, own, status, answer.problem, now=house.now, base_url=house.base_url)
            if answer.problem is None:
                subscriptions.reached(conn, own, self.heartbeat_after(house.now()))
            held = subscriptions.get(conn, own)
        self.say("sent" if answer.problem is None else "error", answer, ())
        if held is None or answer.problem is not None:
            return False
        self.held = held
        return True

    def _heartbeat(self) -> None:
        with self.sending.db.read() as conn:
            held = subscriptions.get(conn, self.held.id)
        if held is not None and held.heartbeat_at is not None and held.heartbeat_at <= to_text(self.sending.now()):
            self._send(Kind.HEARTBEAT, ())

    def _send(self, kind: Kind, told: Sequence[Told]) -> bool:
        with self.sending.db.read() as conn:
            now = subscriptions.get(conn, self.held.id)
        # Events may have come since the lease; the message says how many there are.
        held = replace(self.held, events=now.events) if now is not None else self.held
        message = message_of(held, kind, told, base_url=self.sending.base_url, now=self.sending.now())
        return self.pass_on([one.notification for one in told], message)
