"""What pydicom raises on bytes that are not what they should be; no pynetdicom here: the web does without."""

import struct

from pydicom.errors import BytesLengthException, InvalidDicomError

DECODER_ERRORS = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
