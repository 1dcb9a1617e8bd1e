"""Files of other people's making: pydicom's, NEMA WG-04's and several vendors', from two packages of the lock.

`golden.json` holds for each a digest of its first and last frame's stored values, and who gave them: decoders that
are not ours and agree. Made anew by `python -m tests.dicom_node.corpus`, which never asks the code under test.
"""

import hashlib
import importlib.util
import json
import math
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import gdcm
import numpy as np
import pydicom
from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder

GOLDEN = Path(__file__).with_name("golden.json")
_PACKAGES = {"pydicom": "data/test_files", "data_store": "data"}  # the second is pydicom-data
# gdcm 3.2 aborts the process over a dose without Number of Frames.
_ENDS_GDCM = frozenset(("rtdose_1frame.dcm", "rtdose_expb_1frame.dcm", "rtdose_rle_1frame.dcm"))
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def corpus() -> Iterator[tuple[str, Path]]:
    """Yield (name, path) of each file with pixels; a name is in one package only."""
    for package, folder in _PACKAGES.items():
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            raise ModuleNotFoundError(f"{package} is not installed (make brings it)")
        for path in sorted((Path(found.origin).parent / folder).rglob("*.dcm")):
            if has_pixels(path):
                yield f"{package}/{path.name}", path


def has_pixels(path: Path) -> bool:
    """Tell whether this is a Part 10 file with pixels."""
    try:
        with warnings.catch_warnings(action="ignore"):
            ds = pydicom.dcmread(path, defer_size=1024)
    except pydicom.errors.InvalidDicomError:
        return False
    return any(one in ds for one in _PIXELS) and "TransferSyntaxUID" in ds.file_meta


def digest(values: np.ndarray, ds: pydicom.Dataset) -> str:
    """Return the digest of a frame's stored values, without the bits that are none of a sample's."""
    if values.dtype.kind != "f" and not ds.file_meta.TransferSyntaxUID.is_encapsulated:
        bits, high = ds.BitsStored, ds.HighBit
        values = (values.astype(np.int64) >> high + 1 - bits) & ((1 << bits) - 1)
        if ds.PixelRepresentation:
            values = np.where(values >> bits - 1, values - (1 << bits), values)
    kind = "<f8" if values.dtype.kind == "f" else "<i8"
    return hashlib.sha256(repr(values.shape).encode() + values.astype(kind).tobytes()).hexdigest()


def frames_of(ds: pydicom.Dataset) -> tuple[int, ...]:
    """Return the first and the last frame, counted from 0."""
    try:
        return tuple(sorted({0, int(ds.get("NumberOfFrames") or 1) - 1}))
    except ValueError:  # one file says "1A"
        return (0,)


def _by_plugins(ds: pydicom.Dataset, index: int) -> Iterator[tuple[str, np.ndarray]]:
    decoder = get_decoder(ds.file_meta.TransferSyntaxUID)
    for name in decoder.available_plugins if decoder.is_encapsulated else ("",):
        try:
            yield name or "pydicom", decoder.as_array(ds, decoding_plugin=name, index=index)[0]
        except (RuntimeError, ValueError, AttributeError, NotImplementedError):
            continue


def _by_gdcm(ds: pydicom.Dataset, path: Path, index: int) -> Iterator[tuple[str, np.ndarray]]:
    """gdcm's own reading of the whole file, of grey and RGB: other colours it leaves as they are stored."""
    if path.name in _ENDS_GDCM:
        return
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    colours = ds.get("SamplesPerPixel", 1) > 1
    if colours and ds.PhotometricInterpretation != "RGB":
        return
    if ds.get("BitsAllocated") not in {8, 16, 32} or "PixelData" not in ds or not reader.Read():
        return
    image = reader.GetImage()
    try:
        data = image.GetBuffer().encode("utf-8", "surrogateescape")
    except (AttributeError, UnicodeEncodeError):
        return
    sign = "i" if ds.get("PixelRepresentation") else "u"
    kind = f"<{sign}{image.GetPixelFormat().GetBitsAllocated() // 8}"
    planes = colours and ds.PlanarConfiguration == 1
    shape = (3, ds.Rows, ds.Columns) if planes else (ds.Rows, ds.Columns, 3) if colours else (ds.Rows, ds.Columns)
    values = np.frombuffer(data[: len(data) // np.dtype(kind).itemsize * np.dtype(kind).itemsize], kind)
    if values.size == math.prod(shape) * (frames_of(ds)[-1] + 1):
        frame = values.reshape(-1, *shape)[index]
        yield "gdcm's reader", np.moveaxis(frame, 0, 2) if planes else frame


def _by_hand(ds: pydicom.Dataset, index: int) -> Iterator[tuple[str, np.ndarray]]:
    """One bit a pixel, where a frame does not begin with a byte."""
    if ds.get("BitsAllocated") == 1 and not ds.file_meta.TransferSyntaxUID.is_encapsulated:
        size = ds.Rows * ds.Columns
        bits = np.unpackbits(np.frombuffer(ds.PixelData, np.uint8), bitorder="little")
        yield "numpy", bits[size * index : size * (index + 1)].reshape(ds.Rows, ds.Columns)


_DCMTK = {
    **dict.fromkeys(
        (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1), "dcmdjpeg"
    ),
    **dict.fromkeys((uid.JPEGLSLossless, uid.JPEGLSNearLossless), "dcmdjpls"),
    uid.RLELossless: "dcmdrle",
    uid.ExplicitVRBigEndian: "dcmconv",
    uid.DeflatedExplicitVRLittleEndian: "dcmconv",
}


def _by_dcmtk(ds: pydicom.Dataset, path: Path, index: int) -> Iterator[tuple[str, np.ndarray]]:
    """dcmtk's decompression, of grey and RGB: its own conversion of other colours rounds as it likes."""
    tool = _DCMTK.get(ds.file_meta.TransferSyntaxUID)
    if tool is None or (ds.get("SamplesPerPixel", 1) > 1 and ds.PhotometricInterpretation != "RGB"):
        return
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.dcm"
        done = subprocess.run([tool, "+te", path, plain], check=False, capture_output=True)
        done = (
            done if done.returncode == 0 else subprocess.run([tool, path, plain], check=False, capture_output=True)
        )
        if done.returncode == 0:
            for _, values in _by_plugins(pydicom.dcmread(plain), index):
                yield tool, values


def witnesses(path: Path) -> dict[str, list[str]]:
    """Return the digests of first and last frame by each decoder that is not ours."""
    ds = pydicom.dcmread(path)
    seen: dict[str, list[str]] = {}
    for index in frames_of(ds):
        given = (
            *_by_plugins(ds, index),
            *_by_gdcm(ds, path, index),
            *_by_dcmtk(ds, path, index),
            *_by_hand(ds, index),
        )
        for name, values in given:
            seen.setdefault(name, []).append(digest(values, ds))
    return {name: found for name, found in seen.items() if len(found) == len(frames_of(ds))}


def _made_golden() -> dict[str, dict[str, object]]:
    golden: dict[str, dict[str, object]] = {}
    for name, path in corpus():
        seen = witnesses(path)
        for given in seen.values():
            by = sorted(one for one, other in seen.items() if other == given)
            if len(by) > len(golden.get(name, {}).get("by", ())):  # type: ignore[arg-type]
                golden[name] = {"frames": given, "by": by, "against": sorted(set(seen) - set(by))}
        if name not in golden:
            golden[name] = {"frames": [], "by": [], "against": []}
        if golden[name]["against"] or len(golden[name]["by"]) < 2:  # type: ignore[arg-type]
            syntax = uid.UID(pydicom.dcmread(path).file_meta.TransferSyntaxUID).name
            sys.stderr.write(f"{name} ({syntax}): {golden[name]['by']} against {golden[name]['against']}\n")
    return golden


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    GOLDEN.write_text(json.dumps(_made_golden(), indent=1, sort_keys=True) + "\n")
