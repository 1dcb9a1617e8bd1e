"""The beginning of the files that we store: preamble, prefix and file meta group (PS3.10 7.1), as bytes. Pure.

These bytes are part of what an object's sha256 is made of, so they never change: the same object must give the
same file.
"""

import struct

from clinical.uids import derived_uid

IMPLEMENTATION_UID = derived_uid("consilium", "implementation")
IMPLEMENTATION_VERSION = "CONSILIUM"


def file_beginning(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Return all that stands before the data set. The preamble is zeros: C-STORE carries none."""
    meta = struct.pack("<HH2sHL", 2, 0x0001, b"OB", 0, 2) + b"\0\1"
    for element, uid in ((0x0002, sop_class), (0x0003, sop_instance), (0x0010, transfer_syntax)):
        meta += _short(element, b"UI", uid, b"\0")
    meta += _short(0x0012, b"UI", IMPLEMENTATION_UID, b"\0") + _short(0x0013, b"SH", IMPLEMENTATION_VERSION, b" ")
    return b"\0" * 128 + b"DICM" + struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(meta)) + meta


def _short(element: int, vr: bytes, text: str, padding: bytes) -> bytes:
    value = text.encode("ascii")
    value += padding * (len(value) & 1)
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value
