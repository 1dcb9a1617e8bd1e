"""What DICOMweb asks of the decoder's child process: a picture, or an object or its frames in another syntax.

An image that has ended its decoder three times is set aside as the worker sets it aside, and costs nobody a
decoder any more (`record_store.quarantine`).
"""

import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

from clinical.errors import Busy, IncorrectInput, Unsupported
from dicom_node.display_look import Look
from dicom_node.pixels import DecoderCrashed
from dicom_node.syntaxes import ENCODED, why_not_decoded
from dicom_node.web.archive import Archive
from record_store import quarantine
from record_store.holdings import HeldObject

if TYPE_CHECKING:
    from dicom_node.pixels import Decoder

EXPLICIT = "1.2.840.10008.1.2.1"
T = TypeVar("T")
_WAITS_S = 20.0
_IN_MEMORY = 8 << 20


def can_transcode(archive: Archive, stored: str, target: str) -> bool:
    """Tell whether objects may be had in another transfer syntax than they are stored in."""
    return archive.decoder is not None and target in {EXPLICIT, *ENCODED} and why_not_decoded(stored) is None


def picture(archive: Archive, one: HeldObject, number: int, look: Look) -> bytes:
    """Return a frame, counted from 1, as JPEG or PNG. Raises Unsupported for what cannot be shown."""
    return _asked(archive, one, lambda decoder, path: decoder.picture(path, number, asdict(look)))


@contextmanager
def transcoded(archive: Archive, one: HeldObject, syntax: str) -> Iterator[IO[bytes]]:
    """Yield an object in another transfer syntax, as a file at its beginning. Raises Unsupported as `picture`."""
    with _scratch(archive) as file:
        _asked(archive, one, lambda decoder, path: decoder.transcode(path, syntax, file.write))
        file.seek(0)
        yield file


@contextmanager
def transcoded_frames(
    archive: Archive, one: HeldObject, numbers: Sequence[int], syntax: str
) -> Generator[Iterator[bytes]]:
    """Yield frames, counted from 1, in another transfer syntax. Raises Unsupported as `picture`."""
    sizes: list[int] = []
    with _scratch(archive) as file:

        def take(frame: bytes) -> None:
            sizes.append(file.write(frame))

        _asked(archive, one, lambda decoder, path: decoder.frames(path, numbers, syntax, take))
        file.seek(0)
        yield (file.read(size) for size in sizes)


def _scratch(archive: Archive) -> "tempfile.SpooledTemporaryFile[bytes]":
    if archive.blobs.free_bytes() < archive.low_water_bytes:
        raise Busy("the store is almost full")
    return tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(archive.blobs.staging))


def _asked(archive: Archive, one: HeldObject, ask: "Callable[[Decoder, Path], T]") -> T:
    if archive.decoder is None:
        raise Unsupported("nothing is decoded here")
    with archive.db.read() as conn:
        if quarantine.tries(conn, one.sha256) >= quarantine.MOST_TRIES:
            raise Unsupported("the image is set aside: it has ended its decoder too often")
    if not archive.decodings.acquire(timeout=_WAITS_S):
        raise Busy("as many images are being decoded as may be at once")
    with ExitStack() as stack:
        stack.callback(archive.decodings.release)
        path = stack.enter_context(archive.blobs.local_path(one.sha256))
        try:
            return ask(archive.decoder(), path)
        except DecoderCrashed as crashed:
            with archive.db.write() as conn:
                quarantine.record_try(conn, one.sha256, crashed.message, archive.now())
            raise Unsupported(crashed.message) from None
        except IncorrectInput as error:
            # What is wrong is the stored object, not the request.
            raise Unsupported(error.message) from None
