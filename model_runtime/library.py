"""The folder of models: what is there, and whether it is what was shipped.

`models/<name>/{model.onnx, manifest.json, card.md, golden.npz}`. Every file that the server acts on is
covered by a digest in the manifest, and the model must reproduce its golden output before it answers.
"""

import hashlib
import importlib.metadata
import io
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.errors import Fault, IncorrectInput, NotFound
from model_runtime.manifest import Manifest, load_manifest
from model_runtime.session import Device, Session

Array = NDArray[Any]
ONNXRUNTIMES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-directml",
    "onnxruntime-qnn",
    "onnxruntime-training",
    "ort-nightly",
    "ort-nightly-gpu",
)


@dataclass(frozen=True, slots=True)
class Golden:
    """A stored input and what the trainer computed from it."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


class Library:
    """The models of one folder. Manifests are read once, when the library is made."""

    def __init__(self, folder: Path) -> None:
        """Read every manifest. A model whose manifest is broken is listed and answers with its fault.

        Raises Fault when the folder is absent or two folders hold a model of the same name.
        """
        if not folder.is_dir():
            raise Fault("the folder of models does not exist")
        self._folders: dict[str, Path] = {}
        self._manifests: dict[str, Manifest | Fault] = {}
        for path in sorted(folder.glob("*/manifest.json")):
            self._add(path)

    def _add(self, path: Path) -> None:
        name = path.parent.name
        entry: Manifest | Fault
        try:
            entry = load_manifest(path)
            name = entry.name
        except Fault as fault:
            entry = fault
        if name in self._manifests:
            raise Fault(f"two folders hold a model named {name}: {self._folders[name].name}, {path.parent.name}")
        self._folders[name] = path.parent
        self._manifests[name] = entry

    def names(self) -> tuple[str, ...]:
        """Return the names of all models, in order, the broken ones among them."""
        return tuple(sorted(self._manifests))

    def manifest(self, name: str) -> Manifest:
        """Return a manifest. Raises NotFound for an unknown name, ManifestFault for a broken one."""
        entry = self._manifests.get(name)
        if entry is None:
            raise NotFound(f"there is no model named {name}")
        if isinstance(entry, Fault):
            raise Fault(entry.message)
        return entry

    def model_bytes(self, name: str) -> bytes:
        """Return the ONNX file's bytes after comparing their digest. Raises Fault when they differ.

        The bytes that were compared are the ones that are run: nothing reads the file a second time.
        """
        manifest = self.manifest(name)
        return self._read(name, manifest.file, manifest.sha256)

    def golden(self, name: str) -> Golden:
        """Return the stored input and output. Raises Fault when they are absent, altered or unreadable."""
        manifest = self.manifest(name)
        data = self._read(name, manifest.golden.file, manifest.golden.sha256)
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                inputs = {spec.name: arrays[f"in_{spec.name}"] for spec in manifest.inputs}
                outputs = {spec.name: arrays[f"out_{spec.name}"] for spec in manifest.outputs}
        except (KeyError, ValueError, OSError, zipfile.BadZipFile):
            raise Fault(f"the golden file of model {name} does not hold its inputs and outputs") from None
        return Golden(inputs, outputs)

    def card(self, name: str) -> str:
        """Return the model card (Markdown). Raises NotFound when there is none."""
        try:
            return (self._folders[name] / self.manifest(name).card).read_text("utf-8")
        except OSError:
            raise NotFound(f"model {name} has no card") from None

    def verify(self, name: str, device: Device = Device.CPU) -> Session:
        """Check digests, open a session and compare golden outputs. Return the session, ready to use.

        Raises NotFound for an unknown name, Fault with the reason when anything differs.
        """
        manifest = self.manifest(name)
        session = Session(manifest, self.model_bytes(name), device)
        check_golden(name, session.run, self.golden(name), manifest.golden.tolerance)
        return session

    def _read(self, name: str, file: str, sha256: str) -> bytes:
        try:
            data = (self._folders[name] / file).read_bytes()
        except OSError:
            raise Fault(f"model {name}: {file} cannot be read") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Fault(f"model {name}: {file} is not the file that the manifest names (sha256 differs)")
        return data


def check_golden(
    name: str, run: Callable[[Mapping[str, Array]], Mapping[str, Array]], golden: Golden, tolerance: float
) -> None:
    """Run the golden input and compare. Raises Fault when an output differs by more than `tolerance`."""
    try:
        results = run(golden.inputs)
    except IncorrectInput as problem:
        raise Fault(f"the golden file of model {name} does not fit it: {problem.message}") from None
    for output, wanted in golden.outputs.items():
        found = results[output]
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            raise Fault(f"model {name}: golden output {output!r} has another shape or type")
        difference = float(np.max(np.abs(found.astype(np.float64) - wanted.astype(np.float64)), initial=0.0))
        if not difference <= tolerance:
            raise Fault(f"model {name} does not reproduce its golden output {output!r}")


def single_onnxruntime(installed: Iterable[str] | None = None) -> str | None:
    """Return the one installed onnxruntime distribution, None when there is none.

    installed: distribution names; read from the environment when None.

    Raises Fault when there are two: they own the same package directory, one silently shadows the
    other, and removing either breaks both.
    """
    names = _installed() if installed is None else installed
    found = sorted({name.lower().replace("_", "-") for name in names} & set(ONNXRUNTIMES))
    if len(found) > 1:
        raise Fault(
            f"two onnxruntime distributions are installed ({', '.join(found)}) and overwrite each other. "
            f"Fix: pip uninstall -y {' '.join(found)} && pip install 'consilium-cds[cpu]' "
            "(or 'consilium-cds[gpu]')"
        )
    return found[0] if found else None


def _installed() -> list[str]:
    found = []
    for name in ONNXRUNTIMES:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found
