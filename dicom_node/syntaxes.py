"""Every transfer syntax of PS3.5 (2026) that an image may have: who decodes it, or why nobody here does.

The first decoder is the one that is used; the others are tried where it fails (but for RLE: pydicom's own does not
bound what a run expands to), and the tests let all agree, with other programs too. What else pydicom may find
installed is not asked: an image decodes alike on every server.
An unknown one is named as such and never guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom import uid

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
NATIVE = frozenset(
    (
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
    )
)


@dataclass(frozen=True, slots=True)
class ImageSyntax:
    """decoders: names of pydicom's plugins, the one that is used first; empty when why_not says why."""

    decoders: tuple[str, ...] = ()
    why_not: str = ""


# What objects are written in, beside Explicit VR Little Endian, when a client of DICOMweb asks for it.
ENCODED = (uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless)

_OURS = "consilium"
_J2K = ImageSyntax((PLUGIN, "pillow"))
_RETIRED_JPEG = (*range(52, 57), *range(58, 67))

IMAGE_SYNTAXES: Mapping[str, ImageSyntax] = {
    **dict.fromkeys(NATIVE, ImageSyntax(("pydicom",))),
    ENCAPSULATED_NATIVE: ImageSyntax((_OURS,)),
    DEFLATED_FRAME: ImageSyntax((_OURS,)),
    uid.JPEGBaseline8Bit: ImageSyntax(("pillow", PLUGIN)),
    uid.JPEGExtended12Bit: ImageSyntax((PLUGIN,)),
    **dict.fromkeys((uid.JPEGLossless, uid.JPEGLosslessSV1), ImageSyntax((PLUGIN, TURBO))),
    **dict.fromkeys((uid.JPEGLSLossless, uid.JPEGLSNearLossless), ImageSyntax(("pyjpegls", PLUGIN))),
    **dict.fromkeys((uid.JPEG2000Lossless, uid.JPEG2000), _J2K),
    **dict.fromkeys((uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K), ImageSyntax((PLUGIN, OPENJPEG))),
    **dict.fromkeys(JPEG_XL, ImageSyntax((PLUGIN,))),
    uid.RLELossless: ImageSyntax((PLUGIN, "pydicom")),
    **{f"1.2.840.10008.1.2.4.{one}": ImageSyntax(why_not=_RETIRED) for one in _RETIRED_JPEG},
    **dict.fromkeys((uid.JPEG2000MCLossless, uid.JPEG2000MC), ImageSyntax(why_not=_MULTI_COMPONENT)),
    **{f"1.2.840.10008.1.2.4.{one}": ImageSyntax(why_not=_REFERENCED) for one in (94, 95, 204, 205)},
    **{f"1.2.840.10008.1.2.4.{one}": ImageSyntax(why_not=_VIDEO) for one in range(100, 109)},
    **{f"1.2.840.10008.1.2.4.{one}.1": ImageSyntax(why_not=_VIDEO) for one in range(100, 107)},
    **{f"1.2.840.10008.1.2.7.{one}": ImageSyntax(why_not=_VIDEO) for one in (1, 2)},
    **dict.fromkeys(
        ("1.2.840.10008.1.2.7.3", "1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.6.2"), ImageSyntax(why_not=_NO_IMAGE)
    ),
    "1.2.840.10008.1.20": ImageSyntax(why_not="Papyrus 3 was retired and has no decoder here"),
}


def why_not_decoded(syntax: str) -> str | None:
    """Return why an image in a transfer syntax is not decoded, None when it is."""
    found = IMAGE_SYNTAXES.get(syntax)
    if found is None:
        return UNKNOWN
    return found.why_not or None


_NAMES = {
    ENCAPSULATED_NATIVE: "Encapsulated Uncompressed Explicit VR Little Endian",
    DEFLATED_FRAME: "Deflated Image Frame Compression",
    JPEG_XL[0]: "JPEG XL Lossless",
    JPEG_XL[1]: "JPEG XL JPEG Recompression",
    JPEG_XL[2]: "JPEG XL",
}


def name_of(syntax: str) -> str:
    """Return the name that PS3.6 gives a transfer syntax; the UID of an unknown one."""
    return _NAMES.get(syntax) or uid.UID(syntax).name


def as_markdown() -> str:
    """Return the table for people (docs/conformance/transfer-syntaxes.md), by UID."""
    lines = ["| transfer syntax | UID | decoded by, or why not |", "|---|---|---|"]
    for syntax in sorted(IMAGE_SYNTAXES, key=lambda one: [int(part) for part in one.split(".")]):
        row = IMAGE_SYNTAXES[syntax]
        lines.append(
            f"| {name_of(syntax)} | {syntax} | {', '.join(row.decoders) or f'not decoded: {row.why_not}'} |"
        )
    return "\n".join(lines) + "\n"
