"""The sections of the statement, in the order of PS3.2 annex N."""

from collections.abc import Callable

from dicom_node.statement import contexts, entity, objects, query, security, statuses
from dicom_node.statement.node import Node
from dicom_node.statement.text import table
from dicom_node.statement.transactions import transaction_of
from dicom_node.syntaxes import IMAGE_SYNTAXES
from dicom_node.web import RESOURCES

_TITLE = """# DICOM conformance statement

Written by `consilium dicom conformance` from the code (PS3.2). Every presentation context on it is negotiated with
a running node, and nothing that is not on it is accepted: `tests/consilium/test_statement.py`."""

_READ = """{read} of the {all} transfer syntaxes that an image may have are decoded; the others are stored and are
named in [transfer-syntaxes.md](transfer-syntaxes.md). Grey images of 1, 8, 16 and 32 bits and of floating point,
signed or not, with modality and VOI transforms; ultrasound in colour where the picture is grey. What is not read
is stored and not inferred, and `consilium study explain` says why."""
_CHARACTERS = """Received objects keep their bytes, whatever their Specific Character Set (0008,0005). Text is read
in all sets of PS3.3 C.12.1.1.2 (ISO 8859, ISO 2022, GB18030, GBK, UTF-8); what does not fit its declaration is
read with replacement characters. Results have the character set of their image."""


def as_markdown(node: Node) -> str:
    """Return the statement."""
    return "\n\n".join([_TITLE, *("\n".join(section(node)) for section in _SECTIONS)]) + "\n"


def _overview(node: Node) -> list[str]:
    return [
        "## Overview",
        "",
        "Consilium receives images by C-STORE and STOW-RS, reads them with models and sends the results back.",
        "",
        *table(
            ("network service", "as SCU", "as SCP"),
            ((name, "yes" if scu else "no", "yes" if scp else "no") for name, scu, scp in _services(node)),
        ),
    ]


def _services(node: Node) -> list[tuple[str, bool, bool]]:
    asked, called = (
        {str(one) for proposal in node.proposals if (proposal.role == "SCP") is as_scp for one in proposal.classes}
        for as_scp in (False, True)
    )
    offers = contexts.offers_of(node.accepted)
    stored = {one.sop_class for one in offers if contexts.is_storage(one.sop_class)}
    rows = [("Storage", any(contexts.is_storage(one) for one in asked), bool(stored))]
    names = {one.sop_class: one.role for one in offers if one.sop_class not in stored}
    others = {one for one in asked | called if not contexts.is_storage(one)}
    for sop_class in sorted({*names, *others}, key=contexts.name):
        role = names.get(sop_class, "")
        rows.append(
            (contexts.name(sop_class), sop_class in asked or "SCU" in role, sop_class in called or "SCP" in role)
        )
    return rows


def _entity(node: Node) -> list[str]:
    return [
        "## Application entity and association policies",
        "",
        "One application entity, with this title on both sides of an association.",
        "",
        *table(("policy", "value"), entity.policies(node)),
    ]


def _accepted(node: Node) -> list[str]:
    return [
        "## Presentation contexts that are accepted",
        "",
        "Role is the node's. Objects are stored bit for bit as they come; what of it models read is said below.",
        "",
        *contexts.as_tables(contexts.offers_of(node.accepted)),
        "",
        *contexts.private(node.scp.private_syntaxes),
        *(line for service in node.services if service.remark for line in ("", service.remark)),
    ]


def _proposed(node: Node) -> list[str]:
    lines = ["## Presentation contexts that are proposed", ""]
    for one in node.proposals:
        lines += [f"**To {one.purpose}**, as {one.role}", ""]
        if one.classes:
            lines += table(("SOP class", "UID"), ((contexts.name(str(uid)), uid) for uid in one.classes))
            lines += ["", f"in {', '.join(contexts.name(str(uid)) for uid in one.syntaxes)}.", ""]
        lines += [one.remark, ""] if one.remark else []
    return lines[:-1]


def _statuses(node: Node) -> list[str]:
    lines = ["## Statuses", "", "C-STORE, as SCP:", "", *statuses.answered()]
    lines += ["", "C-STORE, as SCU:", "", *statuses.understood()]
    for service in node.services:
        if service.statuses:
            names = ", ".join(contexts.name(str(one.abstract_syntax)) for one in service.contexts)
            lines += ["", f"{service.name or names}:", "", *statuses.of_service(service.statuses)]
    return lines


def _read(_node: Node) -> list[str]:
    read = sum(bool(one.decoders) for one in IMAGE_SYNTAXES.values())
    return ["## Images that models read", "", _READ.format(read=read, all=len(IMAGE_SYNTAXES))]


def _objects(_node: Node) -> list[str]:
    return [
        "## Result objects",
        "",
        "Attributes at the top of each kind, as made for a chest radiograph, with their types in PS3.3.",
        *objects.as_tables(),
        "",
        "No private attributes are written. Those of received objects are kept as they came.",
    ]


def _characters(_node: Node) -> list[str]:
    return ["## Character sets", "", _CHARACTERS]


def _web(node: Node) -> list[str]:
    rows = [(transaction_of(one), one.method, f"`{_template(node.web_path + one.rule)}`") for one in RESOURCES]
    return [
        "## DICOMweb (PS3.18)",
        "",
        "As origin server; media types, parameters, statuses and limits are in [dicomweb.md](../dicomweb.md).",
        "",
        *table(("transaction", "method", "resource"), sorted(rows)),
        "",
        "As user agent, of archives and worklists that settings name by their address:",
        "",
        *table(
            ("transaction", "method", "resource"), ((name, how, f"`{what}`") for name, how, what in node.web_agent)
        ),
    ]


def _template(rule: str) -> str:
    return rule.replace("<path:", "<").replace("<", "{").replace(">", "}")


def _configuration(node: Node) -> list[str]:
    return [
        "## Configuration",
        "",
        "Each of these is explained in [configuration.md](../configuration.md).",
        "",
        *table(("setting", "default"), ((f"`{one.name}`", one.default) for one in node.settings)),
    ]


_SECTIONS: tuple[Callable[[Node], list[str]], ...] = (
    _overview,
    _entity,
    _accepted,
    _proposed,
    _statuses,
    _read,
    _objects,
    query.lines,
    _web,
    _characters,
    security.lines,
    _configuration,
)
