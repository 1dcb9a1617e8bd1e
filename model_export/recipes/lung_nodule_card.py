"""The words of the lung nodule model's card; every figure is taken from the manifest document."""

from collections.abc import Mapping
from typing import Any

from model_export.card import card_text, image, table, with_interval
from model_export.transparency import answers

Document = Mapping[str, Any]
NOTICE = (
    "Research and evaluation only. Trained on simulated radiographs that may be used for academic and research "
    "purposes only (set lidc_drr). Retrain on your own data before any other use."
)
GROUPS = {"visible": "visible or obvious", "faint": "faint or better", "all": "all, hidden ones too"}
SIZES = {"": "any size", "10": "10 mm or more", "15": "15 mm or more", "20": "20 mm or more"}
LEVELS = ("0.5", "1", "2", "4")
LABEL_QUALITY = (
    "The label is mined from the report's text. Against three radiologists on 3,543 radiographs of the same "
    "source (ChestX-Det) the text names a nodule or mass with sensitivity 0.63 and specificity 0.82: no model "
    "can be judged to be better than that."
)


def card(document: Document) -> str:
    """Return card.md."""
    figures = document["metrics"].get("cross_validation") or {}
    sections = [("Input and output", _inputs(document))]
    if figures.get("drr"):
        sections += [
            ("What it finds in simulated radiographs", _froc(figures["drr"])),
            ("As shown by the server", _shown(document, figures["drr"])),
        ]
    if figures.get("nih"):
        sections.append(("On real radiographs", _real(figures)))
    if figures.get("phantom"):
        sections.append(("Phantoms", _phantom(figures["phantom"])))
    if document["metrics"].get("ablation"):
        sections.append(("From simulated to real, and what was tried", _ablation(document["metrics"]["ablation"])))
    sections += [("How visibility is graded", VISIBILITY), ("Limits", LIMITS)]
    return card_text(document, sections)


def _inputs(document: Document) -> str:
    spec = document["image"]
    return (
        f"`image` float32 [batch, {spec['rows']}, {spec['columns']}, 2] -> `probability` float32 [batch, "
        f"{spec['rows']}, {spec['columns']}, 1]. Channel 0 is the grey value between percentiles "
        f"{spec['normalise']['percentiles']}, channel 1 its contrast within "
        f"{2 * spec['normalise']['local_radius_px'] + 1} pixels (`model_runtime/transforms.py`). The "
        "probability is a score, not calibrated."
    )


def _froc(drr: Document) -> str:
    rows = [
        (f"{title}, {size}", drr[f"{group}{least}"]["nodules"], *_levels(drr[f"{group}{least}"]))
        for group, title in GROUPS.items()
        for least, size in SIZES.items()
    ]
    rows.append(
        (
            "contrast as visible, at any place, 15 mm or more",
            drr["contrast15"]["nodules"],
            *_levels(drr["contrast15"]),
        )
    )
    header = ("nodules by >= 3 of 4 readers", "n", *(f"{level} false / image" for level in LEVELS))
    return (
        f"Share of nodules found (FROC), {drr['views']} simulated radiographs of {drr['patients']} patients, "
        "each looked at by the model of a fold that did not learn from that patient; 95 % intervals from "
        "drawing patients.\n\n"
        f"{table(header, rows)}\n\n"
        f"{image('froc', 'FROC by visibility and size')}\n\n"
        "Dice with the readers' outline, visible nodules, missed ones counting 0: "
        f"{with_interval(drr, 'dice_visible')} (15 mm or more: {with_interval(drr, 'dice_visible15')}); of "
        f"those that were found: {with_interval(drr, 'dice_visible_found')}.\n\n"
        "Whole view, a visible nodule of 10 mm or more against no outline at all: AUROC "
        f"{with_interval(drr, 'image_auroc')}.\n\n"
        f"{image('learning', 'Training loss')}"
    )


def _levels(entry: Document) -> list[str]:
    return [with_interval(entry, f"sens_at_{level}fp") for level in LEVELS]


def _shown(document: Document, drr: Document) -> str:
    limits, shown = document["thresholds"], drr["shown"]
    return (
        f"Reported from a peak of {limits['report']:g}, drawn down to {limits['mask']:g}, at least "
        f"{limits['min_area_px']} pixels ({limits['rule']}). Out of fold: {shown['false_per_image']:g} false "
        "findings per image, visible nodules of 10 mm or more found "
        f"{with_interval(shown, 'sensitivity_visible10')}."
    )


def _real(figures: Document) -> str:
    nih = figures["nih"]
    rows = [
        (group, entry["images"], entry["labelled"], entry["auroc"], entry["chexnet_auroc"])
        for key in ("by_view", "by_sex", "by_age")
        for group, entry in nih[key].items()
    ]
    text = (
        f"NIH ChestX-ray14, {nih['images']} radiographs, {nih['labelled']} with nodule or mass in the report, "
        f"out of fold: AUROC {with_interval(nih, 'auroc_nodule_or_mass')}; CheXNet (7 million parameters, "
        f"112,000 radiographs of this source) on the same images: {nih['chexnet_auroc']}. {LABEL_QUALITY} "
        f"Radiographs without that label get {nih['findings_per_unlabelled_image']} findings each.\n\n"
        f"{table(('group', 'images', 'labelled', 'AUROC', 'CheXNet'), rows)}\n\n"
        f"{image('roc', 'ROC on real radiographs')}"
    )
    boxed = figures.get("chestxdet")
    if boxed:
        both = boxed["nodule_or_mass"]
        text += (
            "\n\n"
            f"Boxes of three radiologists (ChestX-Det), {boxed['images']} radiographs, {both['nodules']} "
            f"nodules and masses in {boxed['images_with_nodule_or_mass']} of them, too few for more than an "
            f"impression: found {with_interval(both, 'sens_at_1fp')} at 1 and "
            f"{with_interval(both, 'sens_at_4fp')} at 4 false per image."
        )
    return text


def _phantom(phantom: Document) -> str:
    return (
        f"{phantom['images']} made-up chests, each with one obvious nodule of 15 to 30 mm: "
        f"{with_interval(phantom, 'sensitivity')} reported, {phantom['false_per_image']:g} findings elsewhere a "
        "chest. This says that the pipeline works, nothing about patients.\n\n"
        f"{image('phantom', 'A made-up chest with the outline of the model')}"
    )


def _ablation(ablation: Document) -> str:
    keys = ("steps", "visible15_4fp", "visible10_4fp", "nih", "findings_per_unlabelled_image")
    rows = [(name, *(entry[key] for key in keys)) for name, entry in ablation["rows"].items()]
    header = (
        "learnt from",
        "steps",
        "visible >= 15 mm at 4 false",
        "visible >= 10 mm at 4 false",
        "NIH AUROC",
        "findings per unlabelled radiograph",
    )
    test = ablation["test"]
    return (
        "One fold and a fifth of the recipe's steps: only the rows can be compared with each other, differences "
        "of 0.05 may be chance. Varying tone, sharpness and noise is what carries over to real radiographs. "
        f"{test['projections']} simulated and {test['radiographs']} real radiographs.\n\n"
        f"{table(header, rows)}\n\n{TRIED}"
    )


TRIED = (
    "Tried and left out: averaging with the mirrored picture (no gain, twice the time); a second phase on hard "
    "negatives with the best guess of a nodule where only the report mentions one (NIH AUROC lower in one of two "
    "folds, fewer found at 4 false marks); int8 arithmetic (one fold: NIH AUROC 0.755 to 0.680, 17 to 13 ms, "
    "1.0 to 0.4 MB: more than the 0.005 that may be lost); frozen ImageNet features of whole radiographs (AUROC "
    "0.53)."
)
VISIBILITY = (
    "By `datasets/radiograph.py`, from the projection and the readers' box alone. Contrast: the mean of the "
    "inner ellipse minus a plane fitted to the ring around it (1.25 to 2 radii), in standard deviations of that "
    "ring. 0.5 is faint (grade 1), 1 visible (2), 1.5 obvious (3); less is hidden (0). Places of the same sizes "
    "without a nodule reach these in 25, 12 and 3 % of cases. Below 6 mm nothing is graded above faint. Where "
    "the surroundings are brighter than half of the picture's grey range (heart, mediastinum, abdomen) a nodule "
    "loses a grade and is at most faint. The contrasts were fixed before any model was measured; the rule on "
    "bright surroundings came after the misses of one trial model had been looked at, so the table shows the "
    "figure without it, too."
)
LIMITS = (
    "- Simulated radiographs: no scatter, arms often in the field, other noise and edge enhancement than a "
    "detector. Performance on your radiographs is unknown until you measure it.\n"
    "- Mirroring ignores that left and right differ; devices, electrodes, nipples, calcified nodes and crossing "
    "vessels may be marked.\n"
    "- Nodules behind heart, hilum, ribs or diaphragm are missed; so are most below 10 mm.\n"
    "- Sizes are those of the marked region, not of the nodule; on detectors they are magnified.\n"
    "- The weights began as ImageNet's; the added nodules have the shapes of LIDC outlines, not their texture."
)


def transparency(metrics: Document) -> dict[str, str]:
    """Return the answers to the 31 source attributes."""
    figures = metrics.get("cross_validation") or {}
    return answers(
        output_value="A map of scores (0 to 1, not calibrated) over the radiograph; regions above two thresholds "
        "become numbered findings with outline, area, axes and peak score.",
        output_type="Prediction: detection and outline of places that resemble a nodule.",
        intended_use="Research and demonstration: a second look at frontal chest radiographs for places that "
        "resemble a nodule of 10 to 30 mm.",
        intended_population="Adults with a frontal chest radiograph (CR or DX).",
        out_of_scope="Diagnosis, exclusion of a nodule, screening, lateral views, children, CT.",
        risks="Most nodules below 10 mm and those behind heart, hilum, ribs or diaphragm are missed; devices, "
        "vessels and nipples may be marked. A clean result must not reassure anyone.",
        inclusion_exclusion="LIDC-IDRI: CT of persons with nodules, seven institutions, as frontal projections; "
        "NIH: one frontal radiograph a patient. Nodules outlined by fewer than three readers, below 8 mm or "
        "hidden were neither learnt as nodule nor as background.",
        sensitive_inputs="None: the pixels of the radiograph only. Age, sex and race are no inputs.",
        training_representativeness="NIH: age and sex by the card's table; race and ethnicity are not recorded in "
        "any set. LIDC-IDRI projections come without age and sex.",
        training_relevance="Adults of United States hospitals; projections of CT differ from radiographs, which "
        "the card's figures on real radiographs show.",
        fairness_approach="Performance by view, sex and age band on real radiographs is shown; not corrected.",
        bias_approach="Patients, not images, are split; intervals draw patients; figures by view show the effect "
        "of bedridden patients.",
        external_source="None: the figures on NIH radiographs are out of fold, of a training source.",
        external_party="None.",
        validity_internal=_validity(figures),
        fairness_internal="By view, sex and age band on NIH radiographs: see the card's table.",
        validity_external="not assessed",
    )


def _validity(figures: Document) -> str:
    drr, nih = figures.get("drr"), figures.get("nih")
    if not drr:
        return "not assessed"
    found = drr["visible15"]
    text = (
        "Visible nodules of 15 mm or more in simulated radiographs, out of fold: "
        f"{with_interval(found, 'sens_at_1fp')} found at 1 and {with_interval(found, 'sens_at_4fp')} at 4 false "
        "marks per image."
    )
    return text + (f" NIH text label: AUROC {with_interval(nih, 'auroc_nodule_or_mass')}." if nih else "")
