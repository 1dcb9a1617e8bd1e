"""An A-ASSOCIATE-RQ, read strictly (PS3.8 9.3.2, PS3.7 annex D.3.3): all of it hangs together, or it is none.

pynetdicom's decoder believes lengths, and its negotiation dies of an even context ID, a missing abstract syntax or
an unknown type of identity, whereupon the peer waits for ever. Nothing is read beyond what a length covers.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1
_FIXED = 68  # bytes before the first item
_APPLICATION, _CONTEXT, _ABSTRACT, _TRANSFER, _USER = 0x10, 0x20, 0x30, 0x40, 0x50
_MAXIMUM_LENGTH, _IMPLEMENTATION_CLASS, _WINDOW, _ROLE, _IMPLEMENTATION_VERSION = 0x51, 0x52, 0x53, 0x54, 0x55
_EXTENDED, _COMMON_EXTENDED, _IDENTITY = 0x56, 0x57, 0x58
_ONCE = frozenset((_MAXIMUM_LENGTH, _IMPLEMENTATION_CLASS, _WINDOW, _IMPLEMENTATION_VERSION, _IDENTITY))


class MalformedRequest(ValueError):
    """These bytes are no A-ASSOCIATE-RQ. The text says why and quotes nothing."""


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context: its ID, the abstract syntax, and transfer syntaxes in the peer's order."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AssociationRequest:
    """What a peer asks for. AE titles without padding; maximum_length: 0 when the peer sets no limit.

    roles: (SOP class, SCU role, SCP role). with_identity: a user identity was sent; it is not kept here.
    """

    version: int
    called: str
    calling: str
    application_context: str
    contexts: tuple[ProposedContext, ...]
    maximum_length: int
    roles: tuple[tuple[str, bool, bool], ...] = ()
    with_identity: bool = False


def read_request(body: bytes) -> AssociationRequest:
    """Read the body of the PDU, after its header. Raises MalformedRequest."""
    if len(body) < _FIXED:
        raise MalformedRequest("it is shorter than its fixed fields")
    application: list[str] = []
    contexts: list[ProposedContext] = []
    users: list[memoryview] = []
    for kind, content in _items(memoryview(body)[_FIXED:]):
        if kind == _APPLICATION:
            application.append(_text(content))
        elif kind == _CONTEXT:
            contexts.append(_context(content))
        elif kind == _USER:
            users.append(content)
    if len(application) != 1 or len(users) != 1:
        raise MalformedRequest("it needs one application context and one user information")
    if len({one.context_id for one in contexts}) < len(contexts):
        raise MalformedRequest("a context ID is used twice")
    maximum_length, roles, with_identity = _user_information(users[0])
    return AssociationRequest(
        version=struct.unpack_from(">H", body)[0],
        called=_title(body[4:20]),
        calling=_title(body[20:36]),
        application_context=application[0],
        contexts=tuple(contexts),
        maximum_length=maximum_length,
        roles=roles,
        with_identity=with_identity,
    )


def _items(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield type and content of each item; unknown ones too (PS3.8 9.3.1: they are to be ignored)."""
    position = 0
    while position < len(data):
        if len(data) - position < 4:
            raise MalformedRequest("an item is cut")
        kind, _, length = struct.unpack_from(">BBH", data, position)
        position += 4
        if length > len(data) - position:
            raise MalformedRequest("an item is longer than what holds it")
        yield kind, data[position : position + length]
        position += length


def _context(content: memoryview) -> ProposedContext:
    if len(content) < 4 or not content[0] & 1:
        raise MalformedRequest("a context ID is an odd number from 1 to 255")
    abstract, transfer = [], []
    for kind, text in _items(content[4:]):
        if kind == _ABSTRACT:
            abstract.append(_text(text))
        elif kind == _TRANSFER:
            transfer.append(_text(text))
    if len(abstract) != 1 or not transfer:
        raise MalformedRequest("a context needs one abstract syntax and a transfer syntax")
    return ProposedContext(content[0], abstract[0], tuple(transfer))


def _user_information(content: memoryview) -> tuple[int, tuple[tuple[str, bool, bool], ...], bool]:
    """Return maximum length, roles and whether there is an identity; check all that PS3.7 D.3.3 defines."""
    maximum_length, roles, seen = 0, [], set()
    for kind, part in _items(content):
        if kind in seen and kind in _ONCE:
            raise MalformedRequest("a user information item stands twice")
        seen.add(kind)
        if kind in {_MAXIMUM_LENGTH, _WINDOW}:
            if len(part) != 4:
                raise MalformedRequest("a maximum length or a window has four bytes")
            if kind == _MAXIMUM_LENGTH:
                maximum_length = struct.unpack(">L", part)[0]
        elif kind == _ROLE:
            uid, rest = _counted(part)
            if len(rest) != 2 or max(rest) > 1:
                raise MalformedRequest("a role is 0 or 1")
            roles.append((_text(uid), bool(rest[0]), bool(rest[1])))
        elif kind == _EXTENDED:
            _text(_counted(part)[0])
        elif kind == _COMMON_EXTENDED:
            _common_extended(part)
        elif kind == _IDENTITY:
            _identity(part)
    return maximum_length, tuple(roles), _IDENTITY in seen


def _common_extended(part: memoryview) -> None:
    """Check a SOP Class Common Extended Negotiation (PS3.7 D.3.3.6)."""
    _, rest = _counted(part)
    _, rest = _counted(rest)
    related, _ = _counted(rest)
    while related:
        _, related = _counted(related)


def _identity(part: memoryview) -> None:
    """Check a user identity (PS3.7 D.3.3.7): types 1 to 5, then two counted fields and nothing else."""
    if len(part) < 2 or not 1 <= part[0] <= 5 or part[1] > 1:
        raise MalformedRequest("an identity is of no known type")
    _, rest = _counted(part[2:])
    _, rest = _counted(rest)
    if rest:
        raise MalformedRequest("an identity is longer than its fields")


def _counted(part: memoryview) -> tuple[memoryview, memoryview]:
    """Return a field behind its 16-bit length, and what follows it."""
    if len(part) < 2:
        raise MalformedRequest("a field is cut")
    length = struct.unpack_from(">H", part)[0]
    if length > len(part) - 2:
        raise MalformedRequest("a field is longer than its item")
    return part[2 : 2 + length], part[2 + length :]


def _text(part: memoryview) -> str:
    """Return a UID. It is not judged here: an unknown or impossible one is refused, context by context."""
    try:
        text = bytes(part).decode("ascii").rstrip("\0 ")
    except UnicodeDecodeError:
        raise MalformedRequest("a name is not ASCII") from None
    if not text:
        raise MalformedRequest("a name is empty")
    return text


def _title(field: bytes) -> str:
    """Return an AE title (PS3.5 6.2: no control character, no backslash; PS3.8: not only spaces), or ""."""
    title = field.decode("latin-1").strip(" ")
    return title if title.isascii() and title.isprintable() and "\\" not in title else ""
