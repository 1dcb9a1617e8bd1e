"""`card.md`: what a clinician and an auditor read about a model, written from the manifest document.

Every figure comes from the manifest, so that card and manifest cannot disagree.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]
Section = tuple[str, str]


def card_text(document: Document, sections: Sequence[Section], *, notice: str | None = None) -> str:
    """Return the card (Markdown).

    sections: (heading, body) of what is particular to this model: metrics, choices, limits.
    notice: stands first, for a licence or an origin that restricts use.
    """
    parts = [f"# {document['title']}", f"`{document['name']}` {document['version']} · not a medical device"]
    if notice:
        parts.append(f"> **{notice}**")
    parts += [
        f"**Intended use.** {document['intended_use']}",
        f"**Not for.** {document['not_for']}",
    ]
    for heading, body in (*sections, ("Training data", training_text(document["training"]))):
        parts += [f"## {heading}", body]
    return "\n\n".join(parts) + "\n"


def training_text(training: Document) -> str:
    """Return origin, licence, digest, seed and library versions."""
    versions = ", ".join(f"{name} {version}" for name, version in training["versions"].items())
    return (
        f"{training['data']}\n\n"
        f"- Licence: {training['licence']}\n"
        f"- sha256: `{training['data_sha256']}`\n"
        f"- Seed: {training['seed']}\n"
        f"- Made with: {versions}"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; numbers as they are, None as a dash."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join("–" if cell is None else str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def feature_table(document: Document) -> str:
    """Return the inputs of a risk model with units, plausible ranges and whether they may be missing."""
    return table(
        ("input", "unit", "plausible range", "may be missing"),
        [
            (
                f["label"],
                f["unit"] or "–",
                f"{f['minimum']:g} – {f['maximum']:g}",
                "no" if f["required"] else "yes",
            )
            for f in document["features"]
        ],
    )


def with_interval(metrics: Document, name: str) -> str:
    """Return `value (low – high)` of a metric with its 95 % interval."""
    low, high = metrics[f"{name}_ci95"]
    return f"{metrics[name]:.3f} ({low:.3f} – {high:.3f})"
