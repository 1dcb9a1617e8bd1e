"""Letters that Helvetica lacks, in fonts that a reader of PDF brings along (ISO 32000-1 9.6.2.2, 9.7.5.2).

Nothing is embedded: a font with the writing of East Asia has 5 MB and more. Greek is in Symbol, one of the 14 that
every reader has; Japanese, Korean, Chinese and Cyrillic are in the collections of Adobe, whose predefined CMaps
take UTF-16 and for which a reader uses a font of its own system. What is copied or searched is the text itself:
those CMaps say it, and a run that is drawn without its accents, or as "?", carries it as ActualText (14.9.4).
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

# The letters of Symbol's own encoding (ISO 32000-1 annex D.5), in the order of its codes.
_SYMBOL = dict(
    zip(
        "ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖαβχδεφγηιϕκλμνοπθρστυϖωξψζ",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        strict=True,
    )
)


@dataclass(frozen=True, slots=True)
class Collection:
    """A character collection of Adobe. cmap: takes UTF-16, big endian."""

    base: str
    cmap: str
    ordering: str
    supplement: int


COLLECTIONS = {
    "F3": Collection("HeiseiKakuGo-W5", "UniJIS-UTF16-H", "Japan1", 5),
    "F4": Collection("HYGoThic-Medium", "UniKS-UTF16-H", "Korea1", 1),
    "F5": Collection("STSong-Light", "UniGB-UTF16-H", "GB1", 4),
}
HELVETICA, SYMBOL, _JAPANESE, _KOREAN, _CHINESE = "F1", "F2", *COLLECTIONS
_BY_SCRIPT = {"HANGUL": _KOREAN, "HIRAGANA": _JAPANESE, "KATAKANA": _JAPANESE, "CYRILLIC": _JAPANESE}
_WIDTHS = {HELVETICA: 0.55, SYMBOL: 0.6}  # of the size; about half as wide as high, a little more to be sure


@dataclass(frozen=True, slots=True)
class Run:
    """Letters of one font. codes: what selects them in it. exact: the letters, "" where the codes say them."""

    font: str
    codes: bytes
    exact: str = ""


def runs(text: str) -> Iterator[Run]:
    """Return a line as runs of one font each; what none of them has becomes "?" and is exact all the same."""
    scripts = {_script(one) for one in text}
    han = _JAPANESE if scripts & {"HIRAGANA", "KATAKANA"} else _KOREAN if "HANGUL" in scripts else _CHINESE
    fonts = [_font(one, han) for one in text]
    for at in range(1, len(text) - 1):  # what divides a name is drawn with it: some readers lose a letter else
        if text[at] in "^ " and fonts[at - 1] in COLLECTIONS and fonts[at - 1] == fonts[at + 1]:
            fonts[at] = fonts[at - 1]
    for font, pairs in groupby(zip(fonts, text, strict=True), lambda pair: pair[0]):
        some = "".join(letter for _, letter in pairs)
        if font == HELVETICA:
            yield Run(font, some.encode("cp1252"))
        elif font == SYMBOL:
            yield Run(font, "".join(_SYMBOL[_plain(one)] for one in some).encode("ascii"), some)
        elif font:
            yield Run(font, some.encode("utf-16-be"))
        else:
            yield Run(HELVETICA, b"?" * len(some), some)


def width(text: str) -> float:
    """Return about how wide a line is, as a multiple of its size."""
    return sum(_WIDTHS.get(_font(one, _CHINESE), 1.0) for one in text)


def _font(letter: str, han: str) -> str:
    if _in_helvetica(letter):
        return HELVETICA
    if _plain(letter) in _SYMBOL:
        return SYMBOL
    by_script = {
        "HANGUL": _KOREAN,
        "HIRAGANA": _JAPANESE,
        "KATAKANA": _JAPANESE,
        "CYRILLIC": _JAPANESE,
        "CJK": han,
    }
    return by_script.get(_script(letter), "")


def _in_helvetica(letter: str) -> bool:
    try:
        letter.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return True


def _plain(letter: str) -> str:
    """Return a letter without its accents."""
    return unicodedata.normalize("NFD", letter)[0]


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]
