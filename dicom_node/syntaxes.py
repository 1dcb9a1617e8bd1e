"""Every transfer syntax of PS3.5 (2026) that an image may have: who decodes it, or why nobody here does.

The first decoder is the one that is used; the others are tried where it fails (but for RLE: pydicom's own does not
bound what a run expands to), and the tests let all agree, with other programs too. What else pydicom may find
installed is not asked: an image decodes alike on every server.
An unknown one is named as such and never guessed. Nothing here needs pydicom: who only stores does not load it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG_BASELINE, JPEG_EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
JPEG_LS_LOSSLESS, JPEG_LS_NEAR_LOSSLESS = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS, JPEG_2000 = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
JPEG_2000_MULTI_COMPONENT = ("1.2.840.10008.1.2.4.92", "1.2.840.10008.1.2.4.93")
HTJ2K = ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")
RLE = "1.2.840.10008.1.2.5"
# What pydicom 3.0 has no name for.
ENCAPSULATED_NATIVE = "1.2.840.10008.1.2.1.98"
DEFLATED_FRAME = "1.2.840.10008.1.2.8.1"
JPEG_XL = ("1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.112")
PLUGIN = "imagecodecs"
# Second codecs within imagecodecs.
TURBO, OPENJPEG = "libjpeg-turbo", "openjpeg"
_VIDEO = "it is a video; still images are read"
_RETIRED = "its compression is retired and has no decoder here"
_REFERENCED = "its pixels are on another server (JPIP) and are not fetched"
_MULTI_COMPONENT = "JPEG 2000 Part 2 (multi-component) has no decoder here"
_NO_IMAGE = "this transfer syntax holds no image"
UNKNOWN = "no decoder for this transfer syntax"
_STANDARD = "1.2.840.10008."
GE_BIG_ENDIAN_PIXELS = "1.2.840.113619.5.2"
# How data sets in a private transfer syntax may be encoded: a setting's word, and the syntax that is encoded so.
PRIVATE_ENCODINGS: Mapping[str, str] = {"explicit": EXPLICIT, "implicit": IMPLICIT}
NATIVE = frozenset((IMPLICIT, EXPLICIT, DEFLATED, EXPLICIT_BIG_ENDIAN))


@dataclass(frozen=True, slots=True)
class ImageSyntax:
    """decoders: names of pydicom's plugins, the one that is used first; empty when why_not says why."""

    decoders: tuple[str, ...] = ()
    why_not: str = ""


# What objects are written in, beside Explicit VR Little Endian, when a client of DICOMweb asks for it.
ENCODED = (RLE, JPEG_2000_LOSSLESS, JPEG_LS_LOSSLESS)

_OURS = "consilium"
_J2K = ImageSyntax((PLUGIN, "pillow"))
_RETIRED_JPEG = (*range(52, 57), *range(58, 67))

IMAGE_SYNTAXES: Mapping[str, ImageSyntax] = {
    **dict.fromkeys(NATIVE, ImageSyntax(("pydicom",))),
    ENCAPSULATED_NATIVE: ImageSyntax((_OURS,)),
    DEFLATED_FRAME: ImageSyntax((_OURS,)),
    JPEG_BASELINE: ImageSyntax(("pillow", PLUGIN)),
    JPEG_EXTENDED: ImageSyntax((PLUGIN,)),
    **dict.fromkeys(JPEG_LOSSLESS, ImageSyntax((PLUGIN, TURBO))),
    **dict.fromkeys((JPEG_LS_LOSSLESS, JPEG_LS_NEAR_LOSSLESS), ImageSyntax(("pyjpegls", PLUGIN))),
    **dict.fromkeys((JPEG_2000_LOSSLESS, JPEG_2000), _J2K),
    **dict.fromkeys(HTJ2K, ImageSyntax((PLUGIN, OPENJPEG))),
    **dict.fromkeys(JPEG_XL, ImageSyntax((PLUGIN,))),
    RLE: ImageSyntax((PLUGIN, "pydicom")),
    **{f"1.2.840.10008.1.2.4.{one}": ImageSyntax(why_not=_RETIRED) for one in _RETIRED_JPEG},
    **dict.fromkeys(JPEG_2000_MULTI_COMPONENT, ImageSyntax(why_not=_MULTI_COMPONENT)),
    **{f"1.2.840.10008.1.2.4.{one}": ImageSyntax(why_not=_REFERENCED) for one in (94, 95, 204, 205)},
    **{f"1.2.840.10008.1.2.4.{one}": ImageSyntax(why_not=_VIDEO) for one in range(100, 109)},
    **{f"1.2.840.10008.1.2.4.{one}.1": ImageSyntax(why_not=_VIDEO) for one in range(100, 107)},
    **{f"1.2.840.10008.1.2.7.{one}": ImageSyntax(why_not=_VIDEO) for one in (1, 2)},
    **dict.fromkeys(
        ("1.2.840.10008.1.2.7.3", "1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.6.2"), ImageSyntax(why_not=_NO_IMAGE)
    ),
    "1.2.840.10008.1.20": ImageSyntax(why_not="Papyrus 3 was retired and has no decoder here"),
}


# The SCP takes objects in all of these but the retired ones, MIME and XML.
_NOT_OFFERED = frozenset(("1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.6.2", "1.2.840.10008.1.20"))
OFFERED = tuple(
    syntax for syntax, row in IMAGE_SYNTAXES.items() if row.why_not != _RETIRED and syntax not in _NOT_OFFERED
)


def is_private(syntax: str) -> bool:
    """Tell whether a transfer syntax is a vendor's own: its UID is not under DICOM's root (PS3.6 annex A)."""
    return not syntax.startswith(_STANDARD)


def why_not_decoded(syntax: str) -> str | None:
    """Return why an image in a transfer syntax is not decoded, None when it is."""
    if is_private(syntax):
        return f"its transfer syntax {syntax} is private to a vendor"
    found = IMAGE_SYNTAXES.get(syntax)
    if found is None:
        return UNKNOWN
    return found.why_not or None


_NAMES = {
    GE_BIG_ENDIAN_PIXELS: "GE Implicit VR, pixels big endian (private)",
    ENCAPSULATED_NATIVE: "Encapsulated Uncompressed Explicit VR Little Endian",
    DEFLATED_FRAME: "Deflated Image Frame Compression",
    JPEG_XL[0]: "JPEG XL Lossless",
    JPEG_XL[1]: "JPEG XL JPEG Recompression",
    JPEG_XL[2]: "JPEG XL",
}


def name_of(syntax: str) -> str:
    """Return the name that PS3.6 gives a transfer syntax; the UID of an unknown one."""
    if syntax in _NAMES:
        return _NAMES[syntax]
    from pydicom.uid import UID  # noqa: PLC0415 - for documents; see the module

    return UID(syntax).name


def as_markdown() -> str:
    """Return the table for people (docs/conformance/transfer-syntaxes.md), by UID."""
    lines = ["| transfer syntax | UID | decoded by, or why not |", "|---|---|---|"]
    for syntax in sorted(IMAGE_SYNTAXES, key=lambda one: [int(part) for part in one.split(".")]):
        row = IMAGE_SYNTAXES[syntax]
        lines.append(
            f"| {name_of(syntax)} | {syntax} | {', '.join(row.decoders) or f'not decoded: {row.why_not}'} |"
        )
    return "\n".join(lines) + "\n"
