"""Which SOP classes, in which transfer syntaxes, in which role: PS3.2's tables of presentation contexts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pynetdicom import AllStoragePresentationContexts
from pynetdicom.presentation import PresentationContext

from dicom_node.statement.text import table
from dicom_node.syntaxes import name_of

_STORED = frozenset(str(one.abstract_syntax) for one in AllStoragePresentationContexts)


@dataclass(frozen=True, slots=True)
class Offer:
    """A SOP class in one role with its transfer syntaxes. role: the node's."""

    sop_class: str
    role: str
    syntaxes: tuple[str, ...]


_PRIVATE = "Transfer syntaxes of vendors are taken where the site names them (`CONSILIUM_DICOM_PRIVATE_SYNTAXES`)"
_KEPT = "Their objects are stored bit for bit, go out as they are, and their pixels are decoded by nobody here."


def private(syntaxes: Mapping[str, str]) -> list[str]:
    """Return what is said of private transfer syntaxes. syntaxes: UID -> the standard's that is encoded so."""
    if not syntaxes:
        return [f"{_PRIVATE}, and none is named here."]
    rows = ((name(uid), uid, name(encoded)) for uid, encoded in sorted(syntaxes.items()))
    lines = table(("private transfer syntax", "UID", "data set encoded as"), rows)
    return [f"{_PRIVATE}. {_KEPT}", "", *lines]


def is_storage(sop_class: str) -> bool:
    """Tell whether objects of this class are stored (PS3.4 B.5)."""
    return sop_class in _STORED


def name(uid: str) -> str:
    """Return the name that PS3.6 gives a SOP class or a transfer syntax."""
    return name_of(uid)


def offers_of(contexts: Iterable[PresentationContext]) -> list[Offer]:
    """Return what is offered to callers; by SOP class's name."""
    found = [
        Offer(
            str(one.abstract_syntax),
            _role_of(one),
            tuple(sorted(map(str, one.transfer_syntax), key=_by_components)),
        )
        for one in contexts
    ]
    return sorted(found, key=lambda one: (one.role, name(one.sop_class)))


def _role_of(context: PresentationContext) -> str:
    """Return the node's role: pynetdicom's flags tell which roles a caller may take (PS3.7 D.3.3.4)."""
    if context.scu_role is None and context.scp_role is None:
        return "SCP"
    roles = ("SCP",) * bool(context.scu_role) + ("SCU",) * bool(context.scp_role)
    return ", ".join(roles)


def _by_components(syntax: str) -> list[int]:
    return [int(part) for part in syntax.split(".")]


def as_tables(offers: Sequence[Offer]) -> list[str]:
    """Return a table of the SOP classes, which names lists of transfer syntaxes, and those lists."""
    lists = sorted({one.syntaxes for one in offers}, key=lambda syntaxes: (len(syntaxes), syntaxes))
    lists_by = {syntaxes: f"T{number}" for number, syntaxes in enumerate(lists, 1)}
    lines = table(
        ("SOP class", "UID", "role", "transfer syntaxes"),
        ((name(one.sop_class), one.sop_class, one.role, lists_by[one.syntaxes]) for one in offers),
    )
    for syntaxes, label in lists_by.items():
        lines += ["", f"**{label}**", "", *table(("transfer syntax", "UID"), ((name(x), x) for x in syntaxes))]
    return lines
