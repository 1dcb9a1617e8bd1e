"""Manifest, card and plots of breast-lesion; every figure of the card is taken from the manifest document."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.breast_codes import BREAST_LESION_TERMS, BREAST_RECORD, BREASTS
from clinical.codes import MALIGNANT_NEOPLASM_OF_BREAST
from clinical.conformal import Conformal
from model_export import plots
from model_export.card import card_text, image, table, with_interval
from model_export.datasets import breast_usg, bus_bra
from model_export.metrics import confusion_counts
from model_export.plots import Plot
from model_export.recipes.breast_lesion_measure import SETTINGS, Answers, Seen
from model_export.transparency import answers
from model_runtime.histogram import Histogram
from model_runtime.lesion_shape import NAMES
from model_runtime.tasks.coding import coding_document
from model_runtime.tasks.lesion import record_document

Document = Mapping[str, Any]
Losses = Mapping[str, Sequence[Sequence[float]]]
NAME, VERSION = "breast-lesion", "1.0.0"
LIBRARIES = ("keras", "tensorflow-cpu", "tf2onnx", "numpy", "onnx", "scikit-learn")
TITLE = "Breast lesion on ultrasound: outline and malignancy"
NOTICE = (
    "Research demonstration, not a medical device. Whoever uses it must cite Gómez-Flores et al. 2024 (BUS-BRA) "
    "and Pawłowska et al. 2024 (BrEaST)."
)
TRIAL_NOTICE = "Made to try the recipe in seconds: what it says means nothing."
# In tensor order after the looks; the labels stand in explanations.
SHAPE_LABELS = {
    "size": "size in the picture",
    "height_to_width": "taller than wide",
    "axis_ratio": "roundness",
    "tilt": "tilt against the skin",
    "solidity": "no notches in the outline",
    "convexity": "smooth outline against its hull",
    "circularity": "circularity",
    "extent": "share of its box",
    "radial_spread": "uneven radius",
    "radial_roughness": "rough radius",
    "lobes_low": "coarse lobes",
    "lobes_high": "fine lobes",
    "contrast": "darker than its ring",
    "inside_mean": "echo inside",
    "inside_spread": "spread of the echo inside",
    "inside_dark": "darkest echo inside",
    "inside_texture": "texture inside",
    "edge_sharpness": "sharp edge",
    "edge_unevenness": "uneven edge",
    "halo": "bright rim",
    "posterior": "enhancement behind it",
    "posterior_contrast": "brighter behind than inside",
    "softness": "width of doubt about the outline",
}
LOOK_LABELS = {
    "look_malignant": "looks malignant",
    "look_category_3": "looks like BI-RADS 3 or more",
    "look_category_4": "looks like BI-RADS 4 or more",
    "look_category_5": "looks like BI-RADS 5",
}
TOKENS = [{"name": name, "label": label} for name, label in LOOK_LABELS.items()] + [
    {"name": name, "label": SHAPE_LABELS[name]} for name in NAMES
]
IMAGE: Mapping[str, Any] = {
    "modalities": ["US"],
    "rows": 128,
    "columns": 128,
    "fit": "letterbox",
    "normalise": {"percentiles": [1.0, 99.5], "local_radius_px": None},
}
OUTLINE: Mapping[str, Any] = {"mask": 0.5, "report": 0.7, "min_area_px": 30, "zoom": 2.5, "min_side_px": 48}
OUTLINE_RULE = (
    "mask: where a pixel is as likely inside as outside. report: no lesion out of fold peaks lower (1 of 100 is "
    "below 0.95), while a picture without any structure reaches 0.56; normal breasts mostly get an outline all "
    "the same. The zoom of the second reading was chosen among 1.6, 2.0 and 2.5 on fold 5 (Dice 0.860, 0.870, "
    "0.873), its mean with the first on fold 1."
)
CROP: Mapping[str, Any] = {
    "size": 128,
    "zoom": 2.0,
    "min_side_px": 32,
    "low_percentile": 1.0,
    "high_percentile": 99.5,
}
# Variant -> what it requires, and the setting whose answers out of fold judge it; in order of preference.
VARIANTS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "category, descriptors and image": (("category", "descriptors", "image"), "record_image_birads"),
    "category and descriptors": (("category", "descriptors"), "record_birads"),
    "descriptors and image": (("descriptors", "image"), "record_image"),
    "category and image": (("category", "image"), "auto_birads"),
    "descriptors": (("descriptors",), "record"),
    "category": (("category",), "birads"),
    "image": (("image",), "auto"),
}
ALPHA = 0.1
SENSITIVE = 0.98
POLICY_RULE = (
    f"report_from: the probability that {SENSITIVE:.0%} of malignant lesions reach, out of fold; warn_from: one "
    "half, where malignancy is as likely as not, as the probability is calibrated (or report_from, if higher)."
)


def document(
    variants: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Any],
    data: Sequence[Mapping[str, Any]],
    *,
    seed: int,
    minutes: float,
    reference: Mapping[str, Histogram],
    trial: bool,
) -> dict[str, Any]:
    """Return manifest.json without what the gate fills in. trial: made to try the recipe."""
    terms = {
        key: coding_document(getattr(BREAST_LESION_TERMS, key))
        for key in ("category", "kind", "observation", "body_site")
    }
    return {
        "schema": 2,
        "name": NAME,
        "version": VERSION,
        "title": TITLE,
        "task": "lesion",
        "notice": TRIAL_NOTICE if trial else NOTICE,
        "intended_use": "On a breast ultrasound picture that shows a lesion: its outline; and how probable it is "
        "that the lesion is malignant, from the picture, from its BI-RADS record, or from both, for a "
        "radiologist to weigh before deciding on a biopsy.",
        "population": "Women with a breast lesion seen on B-mode ultrasound at two hospitals (Rio de Janeiro, "
        "Poland); in the first all had a biopsy.",
        "not_for": "Screening, diagnosis, deciding against a biopsy; pictures without a lesion (it looks for "
        "one); colour Doppler, elastography; men, children; lesions known to be malignant (BI-RADS 6).",
        "image": dict(IMAGE),
        "outline": {**OUTLINE, "rule": OUTLINE_RULE},
        "crop": dict(CROP),
        "shape": list(NAMES),
        "tokens": TOKENS,
        "segment": {**terms, "label": BREAST_LESION_TERMS.label},
        "outcome": coding_document(MALIGNANT_NEOPLASM_OF_BREAST),
        "body_parts": ["BREAST"],
        "regions": [coding_document(region) for region in BREASTS],
        "record": record_document(BREAST_RECORD),
        "variants": [dict(one) for one in variants],
        "training": {
            "data": [dict(one) for one in data],
            "seed": seed,
            "recipe": RECIPE_TEXT,
            "minutes": minutes,
            "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
        },
        "metrics": dict(metrics),
        "reference": {"features": {name: one.document() for name, one in reference.items()}, "score": None},
        "transparency": answers(**ANSWERS),
    }


def variant_document(name: str, report_from: float, conformal: Conformal) -> dict[str, Any]:
    """Return one entry of "variants"."""
    report = round(report_from, 4)
    return {
        "name": name,
        "requires": list(VARIANTS[name][0]),
        "policy": {"report_from": report, "warn_from": max(0.5, report), "rule": POLICY_RULE},
        "conformal": {
            "alpha": conformal.alpha,
            "negative": round(conformal.negative, 6),
            "positive": round(conformal.positive, 6),
            "rows": conformal.rows,
        },
    }


RECIPE_TEXT = (
    "Outline: U-Net (1.0 million weights, stem of stride 2, 128 px), Dice and cross-entropy, AdamW with a cosine "
    "rate, half of its batches whole pictures and half close-ups, turned, stretched, mirrored, with another "
    "tone; each picture is read whole and close up, each with its mirror image, and the mean counts. Image: five "
    "stages of EfficientNet-Lite0 from ImageNet weights (the first three fixed) on the square around the "
    "network's own outline; it says malignancy and BI-RADS category. Beside that, 23 numbers describe outline "
    "and echo. Diagnosis: a committee of small Transformers (one layer, width 16, exact GELU) over record "
    "tokens and image tokens, each beside a linear score, joined by a gate, record first; what is unknown is "
    "masked out; features, categories, records and images are dropped at random so that every combination is "
    "learnt. Outlines and looks of training pictures come from networks that have not seen the patient (five "
    "folds of the authors of BUS-BRA); folds 1 and 2, and 3 and 4, share the start of their outline networks. "
    "Minutes are those of one core. Only the diagnosis has seen breast_usg. Log odds are calibrated by Platt's "
    "method out of fold. Tried on the way (patients, out of fold): shape numbers of experts' outlines with a "
    "random forest 0.932 AUROC, of the network's own outlines 0.887 (logistic regression); with category 0.934 "
    "(random forest); record alone on breast_usg: logistic regression 0.905, random forest 0.903."
)
ANSWERS = {
    "output_value": "Probability (0..1) that the lesion is malignant; outline of the lesion.",
    "output_type": "Prediction (probability of malignancy) and segmentation.",
    "intended_use": "To be weighed by a radiologist who reads a breast ultrasound, before deciding on a biopsy.",
    "intended_population": "Women with a lesion on breast ultrasound.",
    "out_of_scope": "Screening; excluding cancer; pictures without a lesion; Doppler and elastography; men; "
    "children.",
    "risks": "A malignant lesion may get a low probability, most of all at another hospital or on another "
    "scanner. The outline may hold another structure. Callipers in the picture show where a reader measured.",
    "inclusion_exclusion": "bus_bra: all pictures. breast_usg: all pictures with a lesion; normal breasts left "
    "out.",
    "sensitive_inputs": "Age. No other demographic, social or health assessment variable.",
    "training_representativeness": "One Brazilian cancer institute and Polish centres; race and ethnicity are not "
    "recorded; in bus_bra age is not recorded either.",
    "training_relevance": "B-mode ultrasound with a reader's BI-RADS category, as in use; a third of the lesions "
    "are malignant, more than among women who are examined.",
    "fairness_approach": "Age may be left out; figures are given by age, scanner and view.",
    "bias_approach": "The second stage learns from outlines that the network drew itself; columns that tell the "
    "diagnosis are refused by the loader; the category can be left out, and figures stand with and without it.",
    "validity_internal": "Cross-validation by patient, below.",
    "fairness_internal": "By age band, scanner and view, below.",
    "external_source": "breast_usg for outlines and the image alone: neither network has seen that hospital.",
    "external_party": "The developers.",
    "external_process": "The final outline and image networks on all pictures of breast_usg; the committee's "
    "answer from members that did not see the patient.",
    "validity_external": "See `external` and the outlines of breast_usg, below.",
}
LIMITS = (
    "- It looks for a lesion in every picture and may outline a shadow, a duct or fat where there is none: it "
    "did so in all three normal breasts of breast_usg.\n"
    "- The BI-RADS category is a reader's own suspicion: with it the model repeats much of what the reader knew.\n"
    "- An expert's outline knows more than the picture: figures with one are an upper bound for a confirmed "
    "outline.\n"
    "- Probabilities are those of referred women with about a third of malignant lesions; elsewhere they are too "
    "high.\n"
    "- Descriptors were learnt from fewer than 200 women: figures on breast_usg are uncertain by several points.\n"
    "- No pixel spacing is used: sizes are shares of the picture."
)
SHOWN = {
    "birads": "BI-RADS category alone",
    "auto": "picture, own outline",
    "auto_birads": "picture, own outline, category",
    "outline": "picture, expert's outline",
    "outline_birads": "picture, expert's outline, category",
    "record": "descriptors and age",
    "record_image": "descriptors, age, picture",
    "record_birads": "descriptors, age, category",
    "record_image_birads": "descriptors, age, category, picture",
    "external": "picture alone (other hospital)",
    "external_birads": "BI-RADS category alone",
}


def card(document: Document) -> str:
    """Return card.md."""
    found = document["metrics"].get("cross_validation")
    sections = [("Inputs", _inputs(document))]
    if found:
        sections += [
            ("Outlines", _outlines(found)),
            ("Diagnosis", _diagnosis(found)),
            ("Certain answers", _certain(document, found)),
            ("By scanner, view and age", _subgroups(found)),
        ]
    return card_text(document, (*sections, ("Limits", LIMITS)))


def _inputs(document: Document) -> str:
    rows = [
        (
            one["label"],
            one["unit"] or one["kind"],
            ", ".join(value["label"] for value in one["values"]) or f"{one['minimum']:g} – {one['maximum']:g}",
            ", ".join(f"{code['code']} ({code['display']})" for code in one["codes"]) or "birth date",
        )
        for one in document["record"]
    ]
    return (
        "Any of the record may be missing, and so may the picture; the answer says what it used. Where a "
        "descriptor is unknown its token is masked out: nothing is imputed. Codes of the values stand in the "
        "manifest and in docs/breast-record.md.\n\n"
        + table(("feature", "unit or kind", "values", "read from"), rows)
    )


def _outlines(found: Document) -> str:
    header = ("set", "patients", "pictures", "Dice mean", "Dice median", "pictures above 0.7", "not outlined")
    rows = [
        (
            name,
            one["patients"],
            one["pictures"],
            with_interval(one, "mean"),
            with_interval(one, "median"),
            one["above_0.7"],
            one["not_outlined"],
        )
        for name, one in ((bus_bra.NAME, found["dice"]), (f"{breast_usg.NAME} (external)", found["dice_external"]))
        if one
    ]
    return (
        "Overlap with the expert's outline in source pixels, views of a patient averaged, out of fold; a lesion "
        f"that is not outlined counts 0.\n\n{table(header, rows)}\n\n"
        + image("dice", "Histogram of Dice by picture")
    )


def _diagnosis(found: Document) -> str:
    header = (
        "set",
        "what is known",
        "patients",
        "AUROC",
        "accuracy",
        "majority",
        "category alone",
        "Brier",
        "ECE",
    )
    rows = [
        (
            setting.site,
            SHOWN[name],
            found[name]["patients"],
            with_interval(found[name], "auroc"),
            with_interval(found[name], "accuracy"),
            found[name]["majority"],
            f"{found[name]['beside']['birads_auroc']} / {found[name]['beside']['birads_accuracy']}",
            found[name]["brier"],
            found[name]["ece"],
        )
        for name, setting in SETTINGS.items()
        if found[name]
    ]
    shown = [
        image(name, alt)
        for name, alt in (
            ("roc", "ROC curves"),
            ("precision_recall", "Precision and recall"),
            ("calibration", "Calibration"),
            ("confusion", "Confusion matrix"),
            ("learning", "Learning curves"),
        )
    ]
    return (
        "By patient, five folds, each patient judged by networks that have not seen her; 95 % bootstrap "
        "intervals. Category alone: AUROC / accuracy of the reader's BI-RADS category among the same patients.\n\n"
        f"{table(header, rows)}\n\n" + "\n\n".join(shown)
    )


def _certain(document: Document, found: Document) -> str:
    chosen = found["selective"]
    rows = [
        (
            one["name"],
            one["conformal"]["negative"],
            round(1 - one["conformal"]["positive"], 4),
            one["conformal"]["rows"],
        )
        for one in document["variants"]
    ]
    sure = (
        f"Of the {chosen['coverage']:.0%} most certain patients (own outline and category) "
        f"{with_interval(chosen, 'accuracy_at_80')} are answered rightly; the others would be referred.\n\n"
        if chosen
        else ""
    )
    header = ("what is known", "benign up to", "malignant from", "patients")
    return (
        f"{sure}An answer names a class only when split conformal prediction (alpha {ALPHA:g}, by class) leaves "
        f"one; between the limits, or where both hold, it says that it is not sure.\n\n{table(header, rows)}\n\n"
        + image("selective", "Accuracy when the least certain are referred")
    )


def _subgroups(found: Document) -> str:
    rows = [
        (kind, label, one["rows"], one["positives"], one["auroc"], one["sensitivity"], one["specificity"])
        for kind, parts in found["subgroups"].items()
        for label, one in parts.items()
    ]
    header = ("by", "group", "pictures", "malignant", "AUROC", "sensitivity at 0.5", "specificity at 0.5")
    return (
        "Scanner and view: own outline and category (bus_bra). Age: descriptors and picture (breast_usg). Sex, "
        f"race and ethnicity are not recorded.\n\n{table(header, rows)}"
    )


def plots_of(said: Mapping[str, Answers], seen: Mapping[str, Sequence[Seen]], losses: Losses | None) -> list[Plot]:
    """Return the plots of a card or an evaluation. losses: network -> running losses of folds, if known."""
    wanted = ("birads", "auto", "auto_birads", "outline_birads", "record", "record_image", "external")
    series = {f"{SHOWN[name]} ({SETTINGS[name].site})": said[name].by_patient() for name in wanted}
    series = {label: one for label, one in series.items() if len(one[0])}
    few = {label: series[label] for label in list(series) if "own outline" in label or "descriptors" in label}
    made = [
        plots.roc(series, title="ROC by patient"),
        plots.precision_recall(series, title="Precision and recall by patient"),
        plots.calibration(few, title="Calibration by patient", resamples=200),
        plots.selective(few),
        plots.histogram(
            {site: np.array([one.dice for one in part]) for site, part in seen.items() if part},
            axis="Dice of a picture",
            edges=np.linspace(0, 1, 21),
            name="dice",
            title="Overlap with the expert's outline",
        ),
    ]
    truth, probability = said["auto_birads"].by_patient()
    if len(truth):
        counts = confusion_counts(truth.astype(np.intp), (probability >= 0.5).astype(np.intp), 2)
        title = "Own outline and category, by patient"
        made.append(plots.confusion(counts, ("benign", "malignant"), title=title))
    if losses and any(losses.values()):
        made.append(_learning(losses))
    return made


def _learning(losses: Losses) -> Plot:
    panels: dict[str, dict[str, NDArray[np.float64]]] = {}
    for network, runs in losses.items():
        if runs:
            longest = max(map(len, runs))
            padded = [[*run, *[float("nan")] * (longest - len(run))] for run in runs]
            panels[network] = {"training": np.array(padded)}
    note = "running training loss; thin lines: folds; the length was set before, nothing stopped early"
    return plots.learning(panels, note=note, step="100 steps")
