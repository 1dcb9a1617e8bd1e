"""Decode an image within a budget: in a child process that may die instead of us.

A `Decoder` keeps one child ready (its imports cost a third of a second) and starts another when it has died.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from select import select
from types import TracebackType
from typing import Any, Self

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from clinical.errors import Busy, Category, ClinicalError, Fault, IncorrectInput, NotFound, Unsupported
from clinical.finding import ImageRef
from clinical.image import GreyImage, PixelSpacing, SpacingOrigin

_ERRORS = {one.category: one for one in (IncorrectInput, NotFound, Unsupported, Fault)}
_CHUNK = 1 << 20
_Answer = tuple[dict[str, Any], list[bytearray]]
MANY_FRAMES = 3  # times the budget of one image, for a request of many frames
_ANSWER_LINE = 64 * 1024
_REAPED_WITHIN_S = 2.0


class DecoderEnded(ClinicalError):
    """The decoder's child ended over an image: perhaps by chance, perhaps because of the image."""


class DecoderCrashed(DecoderEnded, IncorrectInput):
    """The child crashed or reached a limit of its own."""


class DecoderLost(DecoderEnded, Busy):
    """The machine ended the child, or we gave up waiting for it."""


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """The budget of one image.

    seconds: processor time of the child. wall_seconds: how long we wait for it on a busy machine.
    memory_bytes: its address space. max_pixels: rows times columns, checked before decoding.
    """

    seconds: float = 20.0
    wall_seconds: float = 60.0
    memory_bytes: int = 4 * 1024**3
    max_pixels: int = 64_000_000


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A frame with its geometry, which image it is, and the flat part of its header (no sequences).

    regions: boxes (row0, column0, row1, column1) of the pictures on an ultrasound screen, the last two exclusive;
        none when the image does not say.
    """

    image: GreyImage
    ref: ImageRef
    header: Dataset
    regions: tuple[tuple[int, int, int, int], ...] = ()


def read_grey_image(path: Path, *, limits: DecodeLimits | None = None) -> DecodedImage:
    """Decode one single-frame grey image in a child process of its own; errors as `Decoder.read`."""
    with Decoder(limits) as decoder:
        return decoder.read(path)


class Decoder:
    """Decodes images one after the other in a child process. Safe to share between threads."""

    def __init__(self, limits: DecodeLimits | None = None) -> None:
        self._limits = limits or DecodeLimits()
        self._lock = threading.Lock()
        self._child: _Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the child now, so that the first image does not wait for its imports."""
        with self._lock:
            self._ready()

    def read(self, path: Path, frame: int | None = None) -> DecodedImage:
        """Return the image of a Part 10 file: grey values, brighter is larger (MONOCHROME1 is inverted).

        frame: which one, counted from 1; without it the image must have no more than one.
        Raises Unsupported (with the reason) for what is not a single grey frame or has no decoder,
        IncorrectInput when it cannot be decoded within the limits (DecoderCrashed: it stopped the decoder), Busy
        when the machine was too busy to decode it in time or killed the decoder (DecoderLost).
        """
        head, parts = self._ask(path, what="grey", frame=frame)
        return _decoded(head, parts)

    def picture(self, path: Path, number: int, look: Mapping[str, object]) -> bytes:
        """Return a frame, counted from 1, as a JPEG or PNG. look: a `Look` as a dict; errors as `read`."""
        _, (encoded,) = self._ask(path, what="picture", frame=number, look=look)
        return bytes(encoded)

    def frames(self, path: Path, numbers: Sequence[int], syntax: str, take: Callable[[bytes], object]) -> None:
        """Hand over each frame, counted from 1, in another transfer syntax (`dicom_node.transcode`).

        Errors as `read`. take: must not wait, as others wait for this decoder.
        """
        indices = [number - 1 for number in numbers]
        self._ask(path, take, what="frames", frame=numbers[0], frames=indices, syntax=syntax)

    def transcode(self, path: Path, syntax: str, take: Callable[[bytes], object]) -> None:
        """Hand over a Part 10 file piece by piece in another transfer syntax; as `frames`."""
        self._ask(path, take, what="object", syntax=syntax)

    def _ask(self, path: Path, take: Callable[[bytes], object] | None = None, **request: object) -> _Answer:
        """Return the last answer to a request; those before it, which say "more", are handed to `take`."""
        limits = self._limits
        patience = 1 if take is None else MANY_FRAMES
        request |= {
            "path": str(path.absolute()),
            "cpu_s": limits.seconds * patience,
            "memory_bytes": limits.memory_bytes,
            "max_pixels": limits.max_pixels,
        }
        deadline = time.monotonic() + limits.wall_seconds * patience
        with self._lock:
            child = self._ready()
            try:
                child.tell(request)
                head, parts = child.hear(deadline)
                while take is not None and head.get("more"):
                    take(bytes(parts[0]))
                    head, parts = child.hear(deadline)
            except _ChildDied:
                killed = child.ended_by() == signal.SIGKILL
                self._discard()
                # Not by its limits (SIGXCPU, MemoryError), nor by a codec: the machine ran out of memory.
                if killed:
                    raise DecoderLost("the decoder was killed from outside") from None
                raise DecoderCrashed("the image stopped its decoder (memory, time or a crash)") from None
            except TimeoutError:
                self._discard()
                raise DecoderLost("the image was not decoded in time") from None
            except BaseException:
                self._discard()  # whoever takes has failed: what the child still says would answer another
                raise
        if "error" in head:
            raise _ERRORS.get(Category(head["error"]), Fault)(head["message"])
        return head, parts

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._discard()

    @property
    def pid(self) -> int | None:
        """The child's process id, None while there is none."""
        child = self._child
        return child.process.pid if child else None

    def _ready(self) -> "_Child":
        if self._child is None or self._child.process.poll() is not None:
            self._discard()
            self._child = _Child()
        return self._child

    def _discard(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


class _ChildDied(Exception):
    """The child ended without an answer."""


class _Child:
    def __init__(self) -> None:
        reads, writes = os.pipe()
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": os.pathsep.join(one for one in sys.path if one),
            "OPENBLAS_NUM_THREADS": "1",  # each thread reserves address space that counts against the limit
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dicom_node.decode_child", str(writes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[writes],
                env=environment,
            )
        except OSError:
            os.close(reads)
            raise Busy("no process for decoding") from None
        finally:
            os.close(writes)
        self._answers = reads
        self._unread = b""

    def tell(self, request: Mapping[str, object]) -> None:
        """Send a request; _ChildDied when nobody is there."""
        stdin = self.process.stdin
        try:
            if stdin is None:
                raise _ChildDied
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
        except OSError:
            raise _ChildDied from None

    def hear(self, deadline: float) -> _Answer:
        """Return the next answer; _ChildDied or TimeoutError when there is none."""
        rest = bytearray(self._unread)
        while b"\n" not in rest:
            rest += self._more(_ANSWER_LINE, deadline)
        line, _, begun = bytes(rest).partition(b"\n")
        head = json.loads(line)
        parts = []
        for length in head["lengths"]:
            part = bytearray(begun[:length])
            begun = begun[length:]
            while len(part) < length:
                part += self._more(min(_CHUNK, length - len(part)), deadline)
            parts.append(part)
        self._unread = begun
        return head, parts

    def _more(self, count: int, deadline: float) -> bytes:
        ready, _, _ = select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        data = os.read(self._answers, count)
        if not data:
            raise _ChildDied
        return data

    def ended_by(self) -> int | None:
        """Return the number of the signal that ended the child, None when none has."""
        try:
            code = self.process.wait(_REAPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            return None
        return -code if code < 0 else None

    def kill(self) -> None:
        self.process.kill()
        with contextlib.suppress(OSError):
            if self.process.stdin:
                self.process.stdin.close()
        self.process.wait()
        os.close(self._answers)


def _decoded(head: dict[str, Any], parts: list[bytearray]) -> DecodedImage:
    shape = (head["rows"], head["columns"])
    try:
        header = pydicom.dcmread(io.BytesIO(bytes(parts[2])))
        spacing = _spacing(head["spacing"])
        image = GreyImage(
            pixels=np.frombuffer(parts[0], np.float32).reshape(shape),
            spacing=spacing,
            window=tuple(head["window"]) if head["window"] else None,
            padding=_unpacked(parts[1], shape) if head["padding"] else None,
        )
        ref = ImageRef(
            study_uid=str(header.StudyInstanceUID),
            series_uid=str(header.SeriesInstanceUID),
            sop_instance_uid=str(header.SOPInstanceUID),
            sop_class_uid=str(header.SOPClassUID),
            modality=str(header.get("Modality") or ""),
            rows=shape[0],
            columns=shape[1],
            spacing=spacing,
        )
    except (AttributeError, ValueError):
        raise IncorrectInput("the image's header is incomplete") from None
    return DecodedImage(image, ref, header, tuple((box[0], box[1], box[2], box[3]) for box in head["regions"]))


def _spacing(stated: tuple[float, float, str] | None) -> PixelSpacing | None:
    return None if stated is None else PixelSpacing(stated[0], stated[1], SpacingOrigin(stated[2]))


def _unpacked(bits: bytearray, shape: tuple[int, int]) -> NDArray[np.bool_]:
    count = shape[0] * shape[1]
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=count).astype(bool).reshape(shape)
