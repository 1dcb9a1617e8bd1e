"""What the models of CONSILIUM_SHADOW_MODELS are called, for rules; without anything that runs a model."""

from pathlib import Path

from clinical.errors import ClinicalError
from model_runtime.manifest import parse_manifest, read_manifest


def shadow_names(folder: Path) -> list[str]:
    """Return NAME@VERSION of each model in a folder whose manifest can be read."""
    names = []
    for path in sorted(folder.glob("*/manifest.json")):
        try:
            manifest = parse_manifest(read_manifest(path), path.parent.name)
        except ClinicalError:
            continue  # it says why when it is asked for
        names.append(f"{manifest.name}@{manifest.version}")
    return names
