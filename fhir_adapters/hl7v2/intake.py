"""Messages in, acknowledgements out: what arrives together is stored in one transaction, each whole or not at all.

The acknowledgement is made within and sent after the commit, so AA and CA mean that the message and all that it
says are on the disk. A message that cannot be mapped is kept with the reason (the quarantine) until an operator
has it mapped again; one that was stored is told what it was told, without being looked at again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import Connection

from clinical.clock import Clock
from clinical.errors import Busy, ClinicalError
from clinical.uids import DIGEST_LENGTH
from fhir_adapters.hl7v2 import acknowledge, provenance
from fhir_adapters.hl7v2.acknowledge import Header, header_of
from fhir_adapters.hl7v2.apply import Writer
from fhir_adapters.hl7v2.errors import INTERNAL, RECORD_LOCKED, MessageError
from fhir_adapters.hl7v2.held import Held
from fhir_adapters.hl7v2.mapping import map_message, sender_of
from fhir_adapters.hl7v2.message import Message, parse
from fhir_adapters.hl7v2.parts import Mapped
from fhir_adapters.hl7v2.site import Site
from fhir_adapters.hl7v2.text import decoded
from record_store import hl7_messages
from record_store.audit import append_all, row_of
from record_store.database import Database
from record_store.hl7_messages import DROPPED, QUARANTINED, STORED, Kept, Told
from record_store.ledger import Row
from record_store.resources import lock_writers
from record_store.times import to_text

_BETWEEN = b"\x00"  # answers of one message are kept together

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as it arrived. peer: the address that it came from.

    received: when it came (`times.to_text`), of one that has waited in quarantine.
    """

    data: bytes
    peer: str
    received: str = ""

    def __repr__(self) -> str:
        # A repr lands in logs and tracebacks; the message must not.
        return f"Incoming({len(self.data)} bytes)"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the sender gets. kind: MSH-9 as "ORU^R01". outcome: stored, repeated, quarantined, refused or busy."""

    replies: tuple[bytes, ...]
    kind: str
    outcome: str


@dataclass(slots=True)
class _Read:
    """A message on its way: what it says, or why not."""

    incoming: Incoming
    digest: str
    header: Header
    message: Message | None = None
    mapped: Mapped | None = None
    error: MessageError | None = None
    about: Sequence[str] = ()

    @property
    def kind(self) -> str:
        return f"{self.header.kind}^{self.header.event}" if self.header.kind else ""


@dataclass(frozen=True, slots=True)
class Intake:
    """Takes messages. site: asked for each batch, so that a table that was edited counts from then on.

    base_url: ours, as the search index needs it.
    """

    db: Database
    site: Callable[[], Site]
    now: Clock
    base_url: str

    def take(self, batch: Sequence[Incoming]) -> list[Answer]:
        """Store a batch and return the answers in its order; what stands twice in it is taken once."""
        try:
            return self._take(batch)
        except Busy as error:
            log.warning("messages not stored", why=error.message, count=len(batch))
            return [self._not_now(one) for one in batch]
        except Exception as error:  # noqa: BLE001 - one message must not take the others with it
            if len(batch) > 1:
                return [answer for one in batch for answer in self.take([one])]
            log.error("a message could not be taken", problem=type(error).__name__)  # noqa: TRY400 - no values
            return [self._fault(batch[0])]

    def _take(self, batch: Sequence[Incoming]) -> list[Answer]:
        now, site = self.now(), self.site()
        reads = [_read(one, site) for one in batch]
        first = {one.digest: one for one in reads}
        for one in first.values():  # now, because on SQLite everybody who writes waits for what is done below
            _map(one, site)
        with self.db.write() as conn:
            lock_writers(conn)
            before = hl7_messages.known(conn, list(first))
            fresh = [one for one in first.values() if not _is_stored(before.get(one.digest))]
            self._store(conn, fresh, site, now)
            kept = self._kept(conn, fresh, before, now)
        return [self._answer(one, kept, before) for one in reads]

    def _store(self, conn: Connection, fresh: Sequence[_Read], site: Site, now: datetime) -> None:
        """Write what the messages say; those that ask for what cannot be done get their error."""
        good = [one for one in fresh if one.mapped is not None]
        while good:
            # A merge of charts changes what numbers lead to: what comes after it is looked up anew.
            count = next((at + 1 for at, one in enumerate(good) if one.mapped and one.mapped.retired), len(good))
            now_, good = good[:count], good[count:]
            made = [("Provenance", _provenance_id(one, site)) for one in now_]
            held = Held(conn, [one.mapped for one in now_ if one.mapped is not None], made)
            writer = Writer(conn, held, to_text(now), self.base_url)
            for one in now_:
                _apply(writer, one, site, now)
            writer.flush()

    def _kept(
        self, conn: Connection, fresh: Sequence[_Read], before: dict[str, Told], now: datetime
    ) -> dict[str, Kept]:
        """Write the messages themselves and return them by digest."""
        full = any(one.error for one in fresh) and hl7_messages.full(conn)
        rows = {one.digest: self._row(one, before.get(one.digest), now, full=full) for one in fresh}
        written = [row for row in rows.values() if row.state != DROPPED]
        hl7_messages.keep(conn, written, frozenset(before))
        append_all(conn, [_audited(row, now) for row in written])
        return rows

    def _row(self, one: _Read, before: Told | None, now: datetime, *, full: bool) -> Kept:
        # What has no header to be found by is nothing that an operator could have mapped again.
        keepable = bool(one.header.kind) and (before is not None or not full)
        state = STORED if one.error is None else QUARANTINED if keepable else DROPPED
        told = acknowledge.answers(one.header, one.error, one.digest, now, kept=state != DROPPED)
        return Kept(
            sha256=one.digest,
            sender=one.header.sender,
            control_id=one.header.control_id,
            kind=one.kind,
            peer=one.incoming.peer,
            state=state,
            code=one.error.code if one.error else 0,
            problem=one.error.reason if one.error else None,
            attempts=(before.attempts if before else 0) + 1,
            answers=_BETWEEN.join(told),
            body=one.incoming.data,
            received_at=to_text(now),
            settled_at=to_text(now),
        )

    def _answer(self, one: _Read, kept: dict[str, Kept], before: dict[str, Told]) -> Answer:
        row = kept.get(one.digest)
        if row is None:
            return Answer(_split(before[one.digest].answers), one.kind, "repeated")
        if row.state != STORED:
            log.warning("message not taken", kind=one.kind, code=row.code, why=row.problem, digest=one.digest[:12])
        outcome = {DROPPED: "refused"}.get(row.state, row.state)
        return Answer(_split(row.answers), one.kind, outcome)

    def _not_now(self, incoming: Incoming) -> Answer:
        return self._unkept(incoming, MessageError(RECORD_LOCKED, "not now; send it again", rejected=True), "busy")

    def _fault(self, incoming: Incoming) -> Answer:
        """Keep a message that our own fault kept from being mapped."""
        error = MessageError(INTERNAL, "it could not be mapped by a fault of ours; it is kept", rejected=False)
        now = self.now()
        one = _Read(incoming, hl7_messages.digest_of(incoming.data), header_of(incoming.data), error=error)
        try:
            with self.db.write() as conn:
                before = hl7_messages.known(conn, [one.digest])
                kept = self._kept(conn, [one], before, now)
        except ClinicalError:
            return self._not_now(incoming)
        return self._answer(one, kept, before)

    def _unkept(self, incoming: Incoming, error: MessageError, outcome: str) -> Answer:
        header, digest = header_of(incoming.data), hl7_messages.digest_of(incoming.data)
        told = acknowledge.answers(header, error, digest, self.now(), kept=False)
        kind = f"{header.kind}^{header.event}" if header.kind else ""
        return Answer(tuple(told), kind, outcome)


def _audited(row: Kept, now: datetime) -> Row:
    return row_of(
        at=now,
        action="hl7-message",
        outcome=row.state,
        actor=f"hl7:{row.sender}",
        subject=row.sha256[:DIGEST_LENGTH],
        detail={"kind": row.kind, "code": row.code},
    )


def _read(incoming: Incoming, site: Site) -> _Read:
    one = _Read(incoming, hl7_messages.digest_of(incoming.data), header_of(incoming.data))
    try:
        one.message = parse(decoded(incoming.data, site.charset))
    except MessageError as error:
        one.error = error
    return one


def _map(one: _Read, site: Site) -> None:
    if one.message is None:
        return
    try:
        one.mapped = map_message(one.message, site)
    except MessageError as error:
        one.error = error


def _apply(writer: Writer, one: _Read, site: Site, now: datetime) -> None:
    if one.mapped is None or one.message is None:
        return
    try:
        one.about = writer.apply(one.mapped, one.incoming.received)
    except MessageError as error:
        one.error = error
        return
    sender = sender_of(one.message, site.zone)
    made = provenance.of(one.message, one.digest, one.about, _provenance_id(one, site), sender, now)
    writer.add("Provenance", made["id"], made)


def _provenance_id(one: _Read, site: Site) -> str:
    return site.derive("Provenance", one.digest)


def _is_stored(told: Told | None) -> bool:
    return told is not None and told.state == STORED


def _split(answers: bytes) -> tuple[bytes, ...]:
    return tuple(one for one in answers.split(_BETWEEN) if one)
