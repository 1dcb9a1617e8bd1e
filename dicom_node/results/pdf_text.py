"""A PDF (ISO 32000-1) of lines of text, A4, in the Helvetica that every reader has: all that a report needs."""

from collections.abc import Sequence

PAGE_WIDTH, PAGE_HEIGHT, MARGIN = 595, 842, 56  # points, 1/72 inch
_LEADING = 1.45  # of the size
# Helvetica's letters are about half as wide as they are high; lines are broken a little before the margin.
_WIDTH_OF_LETTER = 0.55


def pdf(lines: Sequence[tuple[int, str]], title: str) -> bytes:
    """Return a document whose bytes depend on nothing but these arguments.

    lines: (size in points, text). Long lines are broken at blanks; what Windows-1252 lacks becomes "?".
    """
    pages = _pages([part for size, text in lines for part in _broken(size, text)])
    numbers = range(4, 4 + 2 * len(pages), 2)
    kids = " ".join(f"{number} 0 R" for number in numbers)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, content in zip(numbers, pages, strict=True):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {PAGE_WIDTH} {PAGE_HEIGHT}] /Contents {number + 1} 0 R"
            " /Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        objects.append(b"<< /Length %d >>\nstream\n%b\nendstream" % (len(content), content))
    objects.append(b"<< /Title (" + _escaped(title) + b") /Producer (Consilium) >>")
    return _file(objects)


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
        pages[-1] += b"BT /F1 %d Tf %d %.1f Td (%b) Tj ET\n" % (size, MARGIN, top, _escaped(text))
    return [bytes(page) for page in pages]


def _broken(size: int, text: str) -> list[tuple[int, str]]:
    longest = int((PAGE_WIDTH - 2 * MARGIN) / (size * _WIDTH_OF_LETTER))
    parts, line = [], ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > longest:
            parts.append((size, line))
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*parts, (size, line)]


def _escaped(text: str) -> bytes:
    """Return the inside of a string literal (7.3.4.2)."""
    shown = "".join(one if one.isprintable() else " " for one in text)
    return shown.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)").encode("cp1252", "replace")
