"""`docs/models.md`: the shipped models beside what they were asked to reach, written from their manifests.

    python -m model_export.models_page [--models models] [--out docs/models.md]

Every figure is a manifest's, so that page, card and manifest cannot disagree; a test writes it anew and compares.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_export.card import table
from model_runtime.library import Library
from model_runtime.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Target:
    """A figure of `evaluate --json`, by its path, and what it has to reach. beside: the figure to read it with."""

    key: str
    least: float | None = None
    most: float | None = None
    beside: str | None = None

    @property
    def asked(self) -> str:
        """The target in words."""
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}"
        if self.least is not None:
            return f">= {self.least:g}"
        return "reported" if self.most is None else f"<= {self.most:g}"

    def reached(self, value: float) -> bool:
        """Tell whether a value reaches it."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


TARGETS: Mapping[str, tuple[Target, ...]] = {
    "diabetes-risk": (
        Target("no_lab.auroc", least=0.84),
        Target("lab.auroc", least=0.93),
        Target("lab.accuracy", least=0.91, beside="lab.majority"),
        Target("no_lab.ece", most=0.02),
        Target("lab.ece", most=0.02),
        Target("no_lab.brier"),
        Target("lab.brier"),
    ),
    "breast-lesion": (
        Target("dice.mean", least=0.87),
        Target("auto_birads.auroc", least=0.93, beside="birads.auroc"),
        Target("auto_birads.accuracy", least=0.87, beside="birads.accuracy"),
        Target("auto.auroc", least=0.90, beside="birads.auroc"),
        Target("outline_birads.auroc", least=0.945, beside="birads.auroc"),
        Target("outline_birads.accuracy", least=0.90, beside="birads.accuracy"),
        Target("selective.accuracy_at_80", least=0.92),
        Target("record_image.auroc", least=0.93, beside="record.auroc"),
        Target("record_image.accuracy", least=0.87, beside="record.accuracy"),
        Target("external.auroc"),
    ),
    "heart-rate-trend": (
        Target("known.skill_mae_30", least=0.15),
        Target("known.skill_mae_60", least=0.20),
        Target("known.direction_60", least=0.80, beside="known.direction_60_coverage"),
        Target("known.direction_60_coverage", least=0.70),
        Target("known.coverage_p10_p90", least=0.75, most=0.85),
        Target("unseen.skill_mae_30"),
        Target("unseen.skill_mae_60"),
    ),
    "lung-nodule": (
        Target("drr.visible15.sens_at_1fp", least=0.60),
        Target("drr.visible15.sens_at_4fp", least=0.75),
        Target("nih.auroc_nodule_or_mass", least=0.70, beside="nih.chexnet_auroc"),
        Target("phantom.sensitivity", least=0.95),
        Target("drr.dice_visible"),
    ),
}
HEAD = """# Models

<!-- written by `python -m model_export.models_page`; do not edit -->

Four models ship in `models/`, each a folder with its ONNX graphs, `manifest.json` and `card.md`. They are for
research and demonstration and no medical device. The figures below are those of **cross-validation by patient,
out of fold**, on the development data: every fold's model was exported to ONNX and run by the server's own
runtime and feature code. The shipped model was then trained on all of the development data. Brackets are 95 %
bootstrap intervals over patients.

Measure one on data of your own, in the layout of `docs/datasets.md`:

```sh
consilium-export evaluate diabetes-risk --data path/to/nhanes_diabetes --json
```
"""


def page(models: Path) -> str:
    """Return the page (Markdown). models: the folder of models."""
    library, parts = Library(models), [HEAD.strip()]
    for name, targets in TARGETS.items():
        manifest = library.manifest(name)
        parts += [f"## {name} {manifest.version}", manifest.title + ".", *_figures(manifest, targets)]
        parts += [_making(manifest), *_plots(models / name, name)]
    return "\n\n".join(parts) + "\n"


def figure(metrics: Mapping[str, Any], key: str) -> tuple[Any, Any]:
    """Return the value at a dotted path and its interval; None for what is not there."""
    *path, last = key.split(".")
    node: Any = metrics
    for step in path:
        node = node.get(step, {}) if isinstance(node, Mapping) else {}
    return node.get(last), node.get(f"{last}_ci95")


def _figures(manifest: Manifest, targets: tuple[Target, ...]) -> Iterator[str]:
    measured = manifest.metrics["cross_validation"]
    rows = []
    for target in targets:
        value, interval = figure(measured, target.key)
        beside = "" if target.beside is None else f"{figure(measured, target.beside)[0]} (`{target.beside}`)"
        verdict = "" if target.asked == "reported" else "yes" if _reached(target, value) else "**no**"
        rows.append((f"`{target.key}`", target.asked, _shown(value, interval), verdict, beside))
    if manifest.notice:
        yield f"> **{manifest.notice}**"
    yield table(("figure", "asked", "cross-validation", "reached", "beside"), rows)


def _reached(target: Target, value: object) -> bool:
    return isinstance(value, int | float) and target.reached(value)


def _shown(value: object, interval: Any) -> str:  # noqa: ANN401 - JSON
    if value is None:
        return "not measured"
    low, high = interval or (None, None)
    return f"{value}" if low is None else f"{value} ({low} – {high})"


def _making(manifest: Manifest) -> str:
    sets = ", ".join(f"{one.name} ({one.subjects} subjects, {one.licence})" for one in manifest.training.data)
    return (
        f"Trained in {manifest.training.minutes:g} minutes on two cores on {sets}. "
        f"[Card](../models/{manifest.name}/card.md), [manifest](../models/{manifest.name}/manifest.json)."
    )


def _plots(folder: Path, name: str) -> Iterator[str]:
    for file in sorted((folder / "plots").glob("*.png")):
        yield f"![{name}: {file.stem.replace('_', ' ')}](../models/{name}/plots/{file.name})"


def main() -> None:
    """Write the page."""
    top = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=top / "models")
    parser.add_argument("--out", type=Path, default=top / "docs" / "models.md")
    arguments = parser.parse_args()
    arguments.out.write_text(page(arguments.models), "utf-8")


if __name__ == "__main__":
    main()
