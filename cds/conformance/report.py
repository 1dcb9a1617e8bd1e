"""The results as a page (Markdown) and for build servers (JUnit XML)."""

from collections.abc import Sequence
from datetime import datetime
from xml.etree import ElementTree as Xml

from cds.conformance.model import Level, Result, Verdict
from cds.conformance.run import counts

_LEVELS = {Level.MUST: "M (SHALL)", Level.SHOULD: "S (SHOULD)", Level.MAY: "O (MAY, own rules)"}
_WORDS = {
    Verdict.PASS: "pass",
    Verdict.FAIL: "**FAIL**",
    Verdict.NOT_APPLICABLE: "not applicable",
    Verdict.SKIPPED: "skipped",
}


def markdown(results: Sequence[Result], target: str, when: datetime) -> str:
    """Return the report as a page. target: what was looked at, in words."""
    lines = [
        f"# CDS Hooks conformance: {target}",
        "",
        f"{len(results)} checks of the CDS Hooks 3.0.0-ballot checklist on {when:%Y-%m-%d}, by HTTP alone.",
        "",
        "| level | " + " | ".join(verdict.value for verdict in Verdict) + " |",
        "|---|" + "---|" * len(Verdict),
    ]
    for level, found in counts(results).items():
        lines.append(f"| {_LEVELS[level]} | " + " | ".join(str(found[verdict]) for verdict in Verdict) + " |")
    lines += ["", "| check | level | clause | claim | verdict | reason |", "|---|---|---|---|---|---|"]
    for one in results:
        about = one.check
        cells = (about.id, about.level.value, about.clause, about.claim, _WORDS[one.verdict], one.reason)
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def junit(results: Sequence[Result]) -> str:
    """Return the report as JUnit XML: what is not applicable counts as skipped, with its reason."""
    amounts = {
        "tests": len(results),
        "failures": sum(one.verdict is Verdict.FAIL for one in results),
        "skipped": sum(one.verdict in {Verdict.SKIPPED, Verdict.NOT_APPLICABLE} for one in results),
    }
    suite = Xml.Element(
        "testsuite", {"name": "cds-hooks", **{name: str(value) for name, value in amounts.items()}}
    )
    for one in results:
        about = one.check
        case = Xml.SubElement(
            suite,
            "testcase",
            {
                "classname": f"cds-hooks.{about.level.value}.{about.row}",
                "name": f"{about.id} {about.claim}",
                "time": f"{one.took_ms / 1000:.3f}",
            },
        )
        if one.verdict is Verdict.FAIL:
            Xml.SubElement(case, "failure", {"message": one.reason, "type": about.clause})
        elif one.verdict is not Verdict.PASS:
            Xml.SubElement(case, "skipped", {"message": f"{one.verdict.value}: {one.reason}"})
    return Xml.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
