"""Coverage-guided fuzzing of what strangers' bytes meet first: the PDU reader and the data set reader.

    pip install atheris                                  (in an environment of its own; wheels for Linux)
    python -m benchmarks.fuzz_dicom pdus --seconds 600
    python -m benchmarks.fuzz_dicom data-sets --seconds 600

libFuzzer mutates a corpus that is made here. A finding is any exception but the reader's own refusal, an input
that takes more than five seconds, 600 MB of memory and, for PDUs, a message that depends on how the network cuts
it. The command then ends with an error and names a file that holds the input; make a test of it.
"""

import argparse
import os
import random
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

SECONDS_FOR_ONE, MEGABYTES = 5, 600
LONGEST_INPUT = 8192

try:
    import atheris
except ImportError:
    raise SystemExit(
        "Atheris is not installed: pip install atheris (Linux; in an environment of its own)"
    ) from None

with atheris.instrument_imports(include=["dicom_node"]):
    from pydicom.uid import (
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
    )
    from pynetdicom.dsutils import encode

    from benchmarks import raw_peer
    from clinical.errors import IncorrectInput
    from dicom_node import command_set
    from dicom_node.header import read_elements, read_header
    from dicom_node.pdu_stream import DataSetEnd, PduStream
    from dicom_node.protocol_error import ProtocolError
    from dicom_node.request_pdu import MalformedRequest, read_request
    from dicom_node.testing import cr_dataset

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
CONTEXTS = {
    1: ("1.2.840.10008.5.1.4.1.1.1", (str(ExplicitVRLittleEndian),)),
    3: (raw_peer.VERIFICATION, (raw_peer.IMPLICIT,)),
}
PEOPLE = ("ISO_IR 192", "ISO 2022 IR 87", "GB18030")


def read_pdus(data: bytes) -> None:
    """Read bytes as an association: a request, then presentation data, cut in two different ways."""
    cut, data = data[:1], data[1:]
    with suppress(MalformedRequest):
        read_request(data[6:])
    draw = random.Random(cut)
    assert _events(data, lambda: len(data)) == _events(data, lambda: draw.randint(1, 40)), "it depends on the cut"


def _events(data: bytes, step: Callable[[], int]) -> list[object]:
    stream = PduStream({1, 3}, longest_pdu=1 << 20, longest_command=1024)
    found: list[object] = []
    held = b""
    try:
        while True:
            while (event := stream.next()) is not None:
                held += b"".join(stream.run())
                found.append((event, held) if isinstance(event, DataSetEnd) else event)
                if isinstance(event, DataSetEnd):
                    held = b""
                elif isinstance(event, command_set.Command):
                    read_again = command_set.response(event, 0)
                    assert len(read_again) < 4096
            if not data:
                return found
            if stream.is_full:
                held += b"".join(stream.run())
            room = stream.room()
            count = min(len(room), step(), len(data))
            room[:count], data = data[:count], data[count:]
            stream.received(count)
    except ProtocolError:
        return [*found, "refused"]


def read_data_sets(folder: Path) -> Callable[[bytes], None]:
    """Return what reads bytes as a data set: the first says in which transfer syntax."""
    path = folder / "data-set"

    def read(data: bytes) -> None:
        if len(data) < 2:
            return
        syntax = SYNTAXES[data[0] % len(SYNTAXES)]
        path.write_bytes(data)
        for call in (
            lambda: read_header(path, 1, syntax),
            lambda: read_elements(_part_10(data[1:], syntax), range(1 << 32), 0x7FE00010, whole=bool(data[0] & 8)),
        ):
            with suppress(IncorrectInput):
                call()

    return read


def _part_10(data: bytes, syntax: str) -> bytes:
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(value)) + value
    return bytes(128) + b"DICM" + struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(meta)) + meta + data


def pdu_seeds() -> Iterator[bytes]:
    """Yield whole conversations, each behind the byte that seeds the cuts."""
    request = raw_peer.association_request(CONTEXTS)
    store = raw_peer.store_command(CONTEXTS[1][0], "1.2.3")
    end = raw_peer.pdu(raw_peer.A_RELEASE_RQ, bytes(4))
    yield request
    for longest in (64, 300, 0):
        yield (
            raw_peer.message(1, store, bytes(500), longest)
            + raw_peer.message(3, raw_peer.echo_command(), None)
            + end
        )
    yield raw_peer.message(3, raw_peer.echo_command(), None) + raw_peer.pdu(raw_peer.A_ABORT, bytes(4))
    identity = raw_peer.item(0x58, b"\1\1\0\4name\0\0")
    roles = raw_peer.item(0x54, b"\0\x111.2.840.10008.1.1\0\1")
    common = raw_peer.item(0x57, b"\0\x031.2\0\x031.3\0\5\0\x031.4")
    for more in (identity, roles, common, raw_peer.item(0x56, b"\0\x031.2\1"), raw_peer.item(0x53, bytes(4))):
        body = request[6:]
        at = body.index(b"\x50\0")
        user = body[at + 4 :] + more
        yield raw_peer.pdu(1, body[:at] + raw_peer.item(0x50, user))


def data_set_seeds() -> Iterator[bytes]:
    """Yield small images in every transfer syntax, with sequences of both kinds and encapsulated pixels."""
    for people in PEOPLE:
        ds = cr_dataset(np.zeros((4, 4), np.uint16), SpecificCharacterSet=people)
        for number, syntax in enumerate(SYNTAXES[:3]):
            yield bytes((number,)) + encode(ds, syntax.is_implicit_VR, syntax.is_little_endian)
    explicit = encode(ds, is_implicit_vr=False, is_little_endian=True)
    packer = zlib.compressobj(wbits=-15)
    yield b"\3" + packer.compress(explicit) + packer.flush()
    head = explicit[: explicit.rindex(struct.pack("<HH", 0x7FE0, 0x10))]
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    fragment = struct.pack("<HHL", 0xFFFE, 0xE000, 0) + struct.pack("<HHL4s", 0xFFFE, 0xE000, 4, b"abcd")
    yield b"\0" + head + struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + fragment + end
    opened = struct.pack("<HH2sHL", 0x40, 0x555, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    yield b"\0" + head + opened * 5 + (struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + end) * 5


def main() -> None:
    """Fuzz one of the readers for so many seconds, from the corpus made here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader", choices=("pdus", "data-sets"))
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--findings", type=Path, default=Path(tempfile.gettempdir()), help="where inputs are left")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = folder / "corpus"
        corpus.mkdir()
        seeds = [b"\0" + one for one in pdu_seeds()] if given.reader == "pdus" else list(data_set_seeds())
        for number, seed in enumerate(seeds):
            (corpus / f"{number:02d}").write_bytes(seed)
        options = {
            "max_total_time": given.seconds,
            "timeout": SECONDS_FOR_ONE,
            "rss_limit_mb": MEGABYTES,
            "max_len": LONGEST_INPUT,
            "artifact_prefix": f"{given.findings.resolve()}{os.sep}",
            "print_final_stats": 1,
        }
        read = read_pdus if given.reader == "pdus" else read_data_sets(folder)
        atheris.Setup([sys.argv[0], *(f"-{key}={one}" for key, one in options.items()), str(corpus)], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
