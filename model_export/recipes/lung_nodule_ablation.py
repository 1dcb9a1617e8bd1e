"""What each measure against the shift from simulated to real radiographs brings: a short training without it.

    python -m model_export.recipes.lung_nodule_ablation --data ../shared/data/lidc_drr

writes `lung_nodule_ablation.json` beside this file, from which the card's table is made. One fold, and a fifth of
the recipe's steps: only the rows can be compared with each other.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from model_export.datasets.crops import Mixture
from model_export.recipe import quiet
from model_export.recipes import lung_nodule_measure as judge
from model_export.recipes.lung_nodule import FOLDS, SEED, session_predict
from model_export.recipes.lung_nodule_data import Sets, folds, load_sets, require_projections

FILE = Path(__file__).with_suffix(".json")
STEPS = 600
SIMULATED = Mixture(boxed=0.0, real=0.0, chest=0.0, inserted=0.0, altered=0.0)
VARIANTS: Mapping[str, Mixture] = {
    "projections as they are": SIMULATED,
    "with tone, sharpness and noise varied": replace(SIMULATED, altered=1.0),
    "and nodules added": replace(SIMULATED, altered=1.0, inserted=0.6),
    "and real radiographs (the recipe)": Mixture(),
}


def run(sets: Sets) -> dict[str, Any]:
    """Return the rows of the table: each variant trained on one fold and measured on its test patients."""
    from model_export.recipes.lung_nodule_training import FOLD, fit, fitted  # noqa: PLC0415

    learn, test = folds(sets, FOLDS)[0]
    rows = {}
    for name, mixture in VARIANTS.items():
        budget = replace(FOLD, steps=STEPS)
        trained = fit(learn, budget, seed=SEED, progress=quiet, mixture=mixture)
        predict = session_predict(fitted(trained).graph)
        simulated = judge.look(test.projections, predict)
        real = judge.look(test.labelled, predict)
        limits = judge.choose_thresholds(simulated)
        nih = judge.measure_labelled(real, sets, limits, SEED)
        rows[name] = {
            "steps": STEPS,
            "visible15_4fp": judge.froc_table(simulated, judge.asked(2, 15.0), SEED)["sens_at_4fp"],
            "visible10_4fp": judge.froc_table(simulated, judge.asked(2, 10.0), SEED)["sens_at_4fp"],
            "nih": nih["auroc_nodule_or_mass"],
            "findings_per_unlabelled_image": nih["findings_per_unlabelled_image"],
        }
    counts = {"projections": len(test.projections), "radiographs": len(test.labelled)}
    return {"test": counts, "rows": rows}


def main() -> None:
    """Read the arguments, run, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    found = run(require_projections(load_sets(parser.parse_args().data)))
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
