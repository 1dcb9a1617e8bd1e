"""Write tree_shap.npz: a small boosted model as the server explains it, and what the `shap` package says of it.

    python tests/clinical/golden/make_tree_shap.py      (in a scratch environment with shap, scikit-learn, onnx)

shap is no dependency of the product; this was run once with shap 0.51.0, TreeExplainer, tree_path_dependent.
"""

import sys
from pathlib import Path

import numpy as np
import shap
from sklearn.ensemble import HistGradientBoostingClassifier

sys.path.insert(0, str(Path(__file__).parents[3]))
from model_export.recipes.diabetes_blend import Additive, Blend
from model_export.recipes.diabetes_features import Column, Design
from model_export.recipes.diabetes_graph import explanation_arrays

NAMES = ("age", "sex_male", "bmi", "waist_cm", "diastolic_mm_hg", "family_history")


def main() -> None:
    """Fit two ensembles on made-up persons with missing values, explain 40 rows both ways."""
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(1500, 6))
    rows[:, 5] = rng.integers(0, 2, 1500)
    truth = rows[:, 0] + rows[:, 1] * rows[:, 2] + rows[:, 5] + rng.normal(0, 0.7, 1500) > 0.8
    rows[:, 1:][rng.random((1500, 5)) < 0.15] = np.nan
    boosters = tuple(
        HistGradientBoostingClassifier(max_iter=12, max_leaf_nodes=9, random_state=seed, early_stopping=False).fit(
            rows, truth
        )
        for seed in (0, 1)
    )
    flat = Additive((np.array([0.0, 1.0]),) * 6, (np.zeros(2),) * 6, np.zeros(6), 0.0)
    design = Design("golden", NAMES, (), tuple(Column(0, name, name, name) for name in NAMES), (), 1.0)
    blend = Blend(boosters, flat, share=1.0, slope=1.3, offset=-0.2)
    arrays = explanation_arrays(blend, design, rows)
    asked = rows[:40].copy()
    asked[:5, 1:] = np.nan
    explained = [shap.TreeExplainer(b, feature_perturbation="tree_path_dependent") for b in boosters]
    values = 1.3 * np.mean([one.shap_values(asked) for one in explained], axis=0)
    base = 1.3 * np.mean([float(np.ravel(one.expected_value)[0]) for one in explained]) - 0.2
    file = Path(__file__).with_name("tree_shap.npz")
    np.savez_compressed(file, rows=asked, shap_values=values, shap_base=base, **arrays)
    sys.stdout.write(f"{file} {file.stat().st_size}\n")


if __name__ == "__main__":
    main()
