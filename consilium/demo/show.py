"""The demonstration's results as a clinician and an engineer would want to see them."""

from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.panel import Panel
from rich.table import Table

from clinical.units import shown_unit
from consilium.demo.agreement import Agreement
from consilium.demo.material import Json
from consilium.demo.stages import Outcome

EDGE = {"info": "blue", "warning": "yellow", "critical": "red"}


def show_cards(console: Console, cards: list[Json]) -> None:
    """Print each card as the EHR would show it, its links below it so that they can be copied whole."""
    for card in cards:
        console.print(
            Panel(
                Markdown(card.get("detail", "")),
                title=f"[bold]{card['summary']}[/]",
                subtitle=card["source"]["label"],
                border_style=EDGE[card["indicator"]],
            )
        )
        for link in card.get("links", []):
            console.print(f"{link['label']}: {link['url']}", soft_wrap=True, markup=False)


def show_summary(console: Console, outcome: Outcome, agreed: Agreement) -> None:
    """Print what came out of which door, and whether all say the same."""
    table = Table("No.", "Size", "Score", "FHIR Observation", title="One finding, one number")
    for number, (fhir, sr) in enumerate(zip(agreed.observations, agreed.report, strict=False), start=1):
        same = "= SR" if fhir == sr else f"SR says {sr[0]} {sr[1]}, {sr[2]}"
        table.add_row(str(number), f"{fhir[0]} {shown_unit(fhir[1])}", f"{fhir[2]:.1f} %", same)
    console.print(table)
    facts = Table(show_header=False, box=None)
    for name, value in _facts(outcome, agreed):
        facts.add_row(f"[dim]{name}[/]", value)
    console.print(facts)


def _facts(outcome: Outcome, agreed: Agreement) -> list[tuple[str, str]]:
    facts = [
        ("DiagnosticReport", f"{outcome.report['status']}: {outcome.report.get('conclusion', '')}"),
        (
            "SEG",
            f"{agreed.segments} segment{'' if agreed.segments == 1 else 's'}"
            if outcome.seg is not None
            else "none (nothing to outline)",
        ),
        ("SR", str(outcome.sr.SeriesDescription) if outcome.sr is not None else "none"),
        *(("RiskAssessment", f"malignant {each:.1f} %") for each in agreed.malignancy),
        ("cards", str(len(outcome.cards))),
        ("all encodings agree", "yes" if agreed.agrees else "; ".join(agreed.problems)),
    ]
    if agreed.truth_found is not None:
        hits, known = agreed.truth_found
        facts.append(("lesions of the phantom found", f"{hits} of {known}"))
    facts.append(("total", f"{sum(outcome.timings_ms.values())} ms"))
    return facts


def as_json_object(outcome: Outcome, agreed: Agreement) -> dict[str, Any]:
    """Return everything as one JSON object, for scripts."""
    return {
        "study": outcome.study_uid,
        "imaging_study": outcome.imaging_study,
        "observations": outcome.observations,
        "risks": outcome.risks,
        "report": outcome.report,
        "seg": None if outcome.seg is None else {"sop": outcome.seg.SOPInstanceUID, "segments": agreed.segments},
        "sr": None
        if outcome.sr is None
        else {"sop": outcome.sr.SOPInstanceUID, "findings": [list(row) for row in agreed.report]},
        "cards": outcome.cards,
        "agreement": {
            "agrees": agreed.agrees,
            "problems": list(agreed.problems),
            "truth_found": agreed.truth_found,
        },
        "timings_ms": outcome.timings_ms,
    }
