"""`card.md`: what a clinician and an auditor read about a model, written from the manifest document.

Every figure comes from the manifest, so that card and manifest cannot disagree.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from model_runtime.source_attributes import ATTRIBUTES, SECTIONS

Document = Mapping[str, Any]
Section = tuple[str, str]


def card_text(document: Document, sections: Sequence[Section]) -> str:
    """Return the card (Markdown).

    sections: (heading, body) of what is particular to this model: metrics, plots, choices, limits.
    """
    parts = [f"# {document['title']}", f"`{document['name']}` {document['version']} · not a medical device"]
    if document["notice"]:
        parts.append(f"> **{document['notice']}**")
    parts += [
        f"**Intended use.** {document['intended_use']}",
        f"**Population.** {document['population']}",
        f"**Not for.** {document['not_for']}",
    ]
    own = (
        ("Training data", training_text(document["training"])),
        ("Source attributes", attributes_text(document["transparency"])),
        ("Files", files_text(document)),
    )
    for heading, body in (*sections, *own):
        parts += [f"## {heading}", body]
    return "\n\n".join(parts) + "\n"


def training_text(training: Document) -> str:
    """Return origin, licence, counts, digests, seed and library versions."""
    rows = [
        (one["name"], one["citation"], one["licence"], one["subjects"], one["rows"], f"`{one['sha256'][:16]}…`")
        for one in training["data"]
    ]
    versions = ", ".join(f"{name} {version}" for name, version in training["versions"].items())
    return (
        f"{table(('set', 'source', 'licence', 'subjects', 'rows', 'sha256'), rows)}\n\n"
        f"{training['recipe']}\n\n"
        f"Seed {training['seed']}, {training['minutes']:g} minutes on two cores, made with {versions}."
    )


def attributes_text(transparency: Document) -> str:
    """Return the 31 source attributes of 45 CFR 170.315(b)(11)(iv)(B), in the rule's order."""
    lines = ["The attributes that 45 CFR 170.315(b)(11)(iv)(B) (HTI-1) asks of predictive decision support."]
    section = ""
    for number, attribute in enumerate(ATTRIBUTES, start=1):
        chapter, _, _ = attribute.clause.partition(".")
        if chapter != section:
            section = chapter
            lines.append(f"\n### {SECTIONS[section]}\n")
        lines.append(f"{number}. **{attribute.title}** ({attribute.clause}): {transparency[attribute.key]}")
    return "\n".join(lines)


def files_text(document: Document) -> str:
    """Return the graphs with their tensors, operator sets and digests."""
    rows = []
    for name, graph in document["graphs"].items():
        opset = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in graph["opset"].items())
        digest = f"`{graph['sha256'][:16]}…`"
        tensors = "; ".join(
            [
                *(f"in {_tensor(spec)}" for spec in graph["inputs"]),
                *(f"out {_tensor(spec)}" for spec in graph["outputs"]),
            ]
        )
        rows.append((name, tensors, graph["precision"], opset, ", ".join(graph["tested_on"]), digest))
    return table(("graph", "tensors", "precision", "operator sets", "tested on", "sha256"), rows)


def _tensor(spec: Document) -> str:
    shape = ", ".join(
        f"{axis} {size}" if axis != size else str(axis)
        for axis, size in zip(spec["axes"], spec["shape"], strict=True)
    )
    return f"`{spec['name']}` {spec['dtype']} [{shape}]" + (f" in {spec['unit']}" if spec["unit"] else "")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; numbers as they are, None as a dash."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join("–" if cell is None else str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def image(name: str, alt: str) -> str:
    """Return a plot of the folder (`plots/<name>.png`) as Markdown."""
    return f"![{alt}](plots/{name}.png)"


def feature_table(document: Document) -> str:
    """Return the inputs of a risk model: units, codes, plausible ranges, look-back, and missing values."""
    return table(
        ("input", "unit", "plausible range", "read from", "look back", "when missing"),
        [
            (
                f["label"],
                f["unit"] or "–",
                f"{f['minimum']:g} – {f['maximum']:g}",
                ", ".join(f"{code['code']} ({code['display']})" for code in f["codes"]),
                "any age" if f["look_back_days"] is None else f"{f['look_back_days']} days",
                "needed" if f["required"] else f["imputation"],
            )
            for f in document["features"]
        ],
    )


def with_interval(metrics: Document, name: str) -> str:
    """Return `value (low – high)` of a metric with its 95 % interval; a dash where it could not be measured."""
    if metrics[name] is None:
        return "–"
    low, high = metrics[f"{name}_ci95"]
    return f"{metrics[name]:.3f}" + ("" if low is None else f" ({low:.3f} – {high:.3f})")
