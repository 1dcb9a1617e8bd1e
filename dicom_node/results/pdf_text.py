"""A PDF (ISO 32000-1) of lines of text, A4, in fonts that every reader has: all that a report needs."""

from collections.abc import Sequence

from dicom_node.results.pdf_fonts import COLLECTIONS, HELVETICA, Collection, Run, runs, width

PAGE_WIDTH, PAGE_HEIGHT, MARGIN = 595, 842, 56  # points, 1/72 inch
_LEADING = 1.45  # of the size
_FONTS_AT = 3  # the number of the first font's object


def pdf(lines: Sequence[tuple[int, str]], title: str) -> bytes:
    """Return a document whose bytes depend on nothing but these arguments.

    lines: (size in points, text). Long lines are broken at blanks. `pdf_fonts` has what Helvetica lacks.
    """
    pages = _pages([part for size, text in lines for part in _broken(size, text)])
    first = _FONTS_AT + 2 + 2 * len(COLLECTIONS)
    numbers = range(first, first + 2 * len(pages), 2)
    kids = " ".join(f"{number} 0 R" for number in numbers)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Symbol >>",
        *(part for number, one in enumerate(COLLECTIONS.values()) for part in _composite(one, number)),
    ]
    names = {"F1": _FONTS_AT, "F2": _FONTS_AT + 1}
    names |= {name: _FONTS_AT + 2 + 2 * number for number, name in enumerate(COLLECTIONS)}
    fonts = " ".join(f"/{name} {number} 0 R" for name, number in names.items())
    for number, content in zip(numbers, pages, strict=True):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {PAGE_WIDTH} {PAGE_HEIGHT}] /Contents {number + 1} 0 R"
            f" /Resources << /Font << {fonts} >> >> >>".encode()
        )
        objects.append(b"<< /Length %d >>\nstream\n%b\nendstream" % (len(content), content))
    objects.append(b"<< /Title (" + _escaped(title) + b") /Producer (Consilium) >>")
    return _file(objects)


def _composite(one: Collection, number: int) -> tuple[bytes, bytes]:
    """Return a Type 0 font and its descendant, which is not embedded (9.7.6.1, 9.7.4)."""
    descendant = _FONTS_AT + 2 + 2 * number + 1
    kind = f"/Registry (Adobe) /Ordering ({one.ordering}) /Supplement {one.supplement}"
    look = "/Flags 4 /FontBBox [0 -200 1000 900] /ItalicAngle 0 /Ascent 880 /Descent -120 /CapHeight 700 /StemV 80"
    return (
        f"<< /Type /Font /Subtype /Type0 /BaseFont /{one.base}-{one.cmap} /Encoding /{one.cmap}"
        f" /DescendantFonts [{descendant} 0 R] >>".encode(),
        f"<< /Type /Font /Subtype /CIDFontType0 /BaseFont /{one.base} /CIDSystemInfo << {kind} >> /DW 1000"
        f" /FontDescriptor << /Type /FontDescriptor /FontName /{one.base} {look} >> >>".encode(),
    )


def _file(objects: Sequence[bytes]) -> bytes:
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start, size = len(out), len(objects) + 1
    out += b"xref\n0 %d\n0000000000 65535 f \n%b" % (size, table)
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, size - 1, start)
    return bytes(out)


def _pages(lines: Sequence[tuple[int, str]]) -> list[bytes]:
    """Return the content stream of each page."""
    pages: list[bytearray] = [bytearray()]
    top = float(PAGE_HEIGHT - MARGIN)
    for size, text in lines:
        top -= size * _LEADING
        if top < MARGIN:
            pages.append(bytearray())
            top = PAGE_HEIGHT - MARGIN - size * _LEADING
        pages[-1] += b"BT %d %.1f Td %b ET\n" % (
            MARGIN,
            top,
            b" ".join(_shown(one, size) for one in runs(_clean(text))),
        )
    return [bytes(page) for page in pages]


def _shown(run: Run, size: int) -> bytes:
    if run.font == HELVETICA:
        said = b"/F1 %d Tf (%b) Tj" % (size, _in_literal(run.codes))
    else:
        said = b"/%b %d Tf <%b> Tj" % (run.font.encode(), size, run.codes.hex().encode())
    if not run.exact:
        return said
    exact = ("\ufeff" + run.exact).encode("utf-16-be").hex().encode()
    return b"/Span << /ActualText <%b> >> BDC %b EMC" % (exact, said)


def _broken(size: int, text: str) -> list[tuple[int, str]]:
    longest = (PAGE_WIDTH - 2 * MARGIN) / size
    parts, line = [], ""
    for word in text.split(" "):
        if line and width(f"{line} {word}") > longest:
            parts.append((size, line))
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*parts, (size, line)]


def _escaped(text: str) -> bytes:
    """Return the inside of a string literal (7.3.4.2) for text of our own."""
    return _in_literal(_clean(text).encode("cp1252", "replace"))


def _in_literal(codes: bytes) -> bytes:
    return codes.replace(b"\\", b"\\\\").replace(b"(", rb"\(").replace(b")", rb"\)")


def _clean(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text)
