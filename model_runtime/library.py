"""The folder of models: what is there, and whether it is what was shipped.

`models/<name>/{manifest.json, card.md, *.onnx, *.npz}`. Every file that the server acts on is covered by a digest
in the manifest, and each graph must reproduce its golden output before it answers. Where trusted keys are set,
the manifest must carry a signature by one of them (`manifest.sig`).
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.errors import Fault, IncorrectInput, NotFound
from model_runtime.graphs import MODEL
from model_runtime.manifest import Manifest, parse_manifest, read_manifest
from model_runtime.session import Device, Session
from model_runtime.signature import SIGNATURE_FILE, is_signed

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Golden:
    """A stored input and what the trainer computed from it."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


class Library:
    """The models of one folder. Manifests are read once, when the library is made."""

    def __init__(self, folder: Path, trusted_keys: Sequence[bytes] = (), *, by_version: bool = False) -> None:
        """Read every manifest. A model whose manifest is broken is listed and answers with its fault.

        trusted_keys: Ed25519 public keys (32 bytes each); with any, an unsigned manifest is a broken one.
        by_version: models are named NAME@VERSION, so that several versions of one may stand side by side.

        Raises Fault when the folder is absent or two folders hold a model of the same name.
        """
        if not folder.is_dir():
            raise Fault("the folder of models does not exist")
        self._trusted_keys = tuple(trusted_keys)
        self._by_version = by_version
        self._folders: dict[str, Path] = {}
        self._manifests: dict[str, Manifest | Fault] = {}
        for path in sorted(folder.glob("*/manifest.json")):
            self._add(path)

    def _add(self, path: Path) -> None:
        name = path.parent.name
        entry: Manifest | Fault
        try:
            entry = self._load(path)
            name = f"{entry.name}@{entry.version}" if self._by_version else entry.name
        except Fault as fault:
            entry = fault
        if name in self._manifests:
            raise Fault(f"two folders hold a model named {name}: {self._folders[name].name}, {path.parent.name}")
        self._folders[name] = path.parent
        self._manifests[name] = entry

    def _load(self, path: Path) -> Manifest:
        data = read_manifest(path)
        if self._trusted_keys and not is_signed(data, path.with_name(SIGNATURE_FILE), self._trusted_keys):
            raise Fault(f"the manifest of model {path.parent.name} is not signed by a trusted key")
        return parse_manifest(data, path.parent.name)

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

    def model_bytes(self, name: str, graph: str = MODEL) -> bytes:
        """Return an ONNX file's bytes after comparing their digest. Raises Fault when they differ.

        The bytes that were compared are the ones that are run: nothing reads the file a second time.
        """
        spec = self.manifest(name).graph(graph)
        return self._read(name, spec.file, spec.sha256)

    def golden(self, name: str, graph: str = MODEL) -> Golden:
        """Return the stored input and output. Raises Fault when they are absent, altered or unreadable."""
        spec = self.manifest(name).graph(graph)
        arrays = self._arrays(name, spec.golden.file, spec.golden.sha256)
        try:
            inputs = {tensor.name: arrays[f"in_{tensor.name}"] for tensor in spec.inputs}
            outputs = {tensor.name: arrays[f"out_{tensor.name}"] for tensor in spec.outputs}
        except KeyError:
            raise Fault(f"the golden file of model {name} does not hold its inputs and outputs") from None
        return Golden(inputs, outputs)

    def arrays(self, name: str, key: str) -> dict[str, Array]:
        """Return the arrays that a manifest lists under `arrays.<key>`. Raises Fault as `golden`."""
        spec = self.manifest(name).arrays.get(key)
        if spec is None:
            raise Fault(f"model {name} has no arrays named {key}")
        return self._arrays(name, spec.file, spec.sha256)

    def _arrays(self, name: str, file: str, sha256: str) -> dict[str, Array]:
        data = self._read(name, file, sha256)
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                arrays = {entry: stored[entry] for entry in stored.files}
        except (ValueError, OSError, EOFError, TypeError, NotImplementedError, zipfile.BadZipFile, zlib.error):
            # TypeError: a lone array (.npy) is no archive and cannot be closed.
            raise Fault(f"model {name}: {file} does not hold arrays") from None
        for array in arrays.values():
            array.flags.writeable = False  # they are shared by all who ask
        return arrays

    def card(self, name: str) -> str:
        """Return the model card (Markdown). Raises NotFound when there is none."""
        try:
            return (self._folders[name] / self.manifest(name).card).read_text("utf-8")
        except OSError:
            raise NotFound(f"model {name} has no card") from None

    def verify(self, name: str, device: Device = Device.CPU, graph: str = MODEL) -> Session:
        """Check digests, open a session of one graph and compare golden outputs. Return it, ready to use.

        Raises NotFound for an unknown name, Fault with the reason when anything differs.
        """
        spec = self.manifest(name).graph(graph)
        session = Session(name, spec, self.model_bytes(name, graph), device)
        golden = self.golden(name, graph)
        check_golden(name, session.run, golden, spec.golden.tolerance)
        if spec.batch_rows > 1:
            check_rows_alone(name, session.run, golden, spec.batch_rows)
        return session

    def verify_all(self, name: str, device: Device = Device.CPU) -> dict[str, Session]:
        """Verify every graph and every file of arrays; return the sessions by graph. Raises as `verify`."""
        self.check_files(name)
        return {graph: self.verify(name, device, graph) for graph in self.manifest(name).graphs}

    def check_files(self, name: str) -> None:
        """Compare the digests of all files without opening a session. Raises as `verify`."""
        manifest = self.manifest(name)
        for graph in manifest.graphs:
            self.model_bytes(name, graph)
            self.golden(name, graph)
        for key in manifest.arrays:
            self.arrays(name, key)

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


def check_rows_alone(
    name: str, run: Callable[[Mapping[str, Array]], Mapping[str, Array]], golden: Golden, length: int
) -> None:
    """Run each golden row in a batch of its copies, then all in one. Raises Fault unless the bits are the same.

    length: rows of a batch. What is run together with a stranger's rows must depend neither on them nor on where
    it stands among them.
    """
    rows = min(len(values) for values in golden.inputs.values())
    if rows < 2:
        raise Fault(f"model {name} is to be run in batches, and its golden file holds fewer than two rows")
    mixed = run({key: np.resize(values, (length, *values.shape[1:])) for key, values in golden.inputs.items()})
    for row in range(min(rows, length)):
        alone = run(
            {key: np.repeat(values[row : row + 1], length, axis=0) for key, values in golden.inputs.items()}
        )
        for output, values in alone.items():
            wanted = values[:1].tobytes()
            same = all(values[place : place + 1].tobytes() == wanted for place in range(length))
            if not same or mixed[output][row : row + 1].tobytes() != wanted:
                raise Fault(f"model {name}: the output {output!r} of a row depends on the rest of the batch")
