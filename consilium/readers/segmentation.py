"""Radiographs through a network that marks lesions pixel by pixel."""

from clinical.finding import Reading, ReadingMask
from clinical.measure import findings_from_probability
from consilium.readers.reader import Look, Reader
from dicom_node.series import RadiographRule
from model_runtime.graphs import MODEL
from model_runtime.image_statistics import image_statistics
from model_runtime.manifest import Manifest
from model_runtime.tasks.segmentation import Segmentation
from model_runtime.transforms import prepare, restore


def rule(manifest: Manifest) -> RadiographRule:
    """Return which images such a model reads."""
    return RadiographRule(modalities=manifest.modalities)


def read(look: Look) -> tuple[Reading, ReadingMask]:
    """Run the network once over the whole image and measure what it marked."""
    manifest, image = look.manifest, look.decoded.image
    part = manifest.require(Segmentation)
    tensor, placement = prepare(image, part.image)
    graph = manifest.graph(MODEL)
    outputs = look.run({graph.inputs[0].name: tensor})
    seen = outputs[graph.outputs[0].name][0, :, :, 0]
    look.drift.observe(manifest, image_statistics(tensor), float(seen.max()))
    findings, mask = findings_from_probability(
        restore(seen, placement),
        mask_threshold=part.thresholds.mask,
        report_threshold=part.thresholds.report,
        min_area_px=part.thresholds.min_area_px,
        spacing=image.spacing,
    )
    return Reading(look.decoded.ref, manifest.ref, part.terms, part.thresholds.report, findings), mask


READER = Reader(Segmentation, rule, read, leaves_out=False)
