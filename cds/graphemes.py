"""Cutting a line where a reader would: never within what is seen as one character (UAX #29, what of it occurs).

A letter with its accents, an emoji with its skin tone, a family joined by zero-width joiners and a flag of two
letters are several code points and one character. Korean syllables that are written in parts stay together too.
"""

import unicodedata

ELLIPSIS = "…"
_JOINER = 0x200D
_VIRAMA = 9  # canonical combining class of signs that join an Indic letter to the next
_JAMO = range(0x1100, 0x1200)
_JAMO_INSIDE = range(0x1160, 0x1200)  # vowels and ends of a Korean syllable
_SYLLABLES = range(0xAC00, 0xD7A4)
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_TAGS = range(0xE0020, 0xE0080)
_FLAG_LETTERS = range(0x1F1E6, 0x1F200)
_GO_ON = {0x200C, _JOINER, 0x0E33, 0x0EB3, *_SKIN_TONES, *_TAGS}  # with the vowel AM of Thai and Lao


def units(text: str) -> int:
    """Return the length in UTF-16 units, which is what a client in JavaScript, Java or C# counts."""
    return len(text) + sum(ord(char) > 0xFFFF for char in text)


def cut(line: str, limit: int) -> str:
    """Return the line in at most `limit` UTF-16 units, cut at a word and ended with an ellipsis.

    A single word longer than half the limit is cut through: losing most of the sentence would be worse.
    """
    if units(line) <= limit:
        return line
    head = ""
    for cluster in clusters(line):
        if units(head) + units(cluster) > limit - 1:
            break
        head += cluster
    at_word = head if line[len(head) : len(head) + 1] == " " else head.rsplit(" ", 1)[0]
    return (at_word if units(at_word) > limit // 2 else head).rstrip(" ,;:.-") + ELLIPSIS


def clusters(text: str) -> list[str]:
    """Return the text in pieces that are seen as one character each."""
    found: list[str] = []
    for char in text:
        if found and _goes_on(found[-1], char):
            found[-1] += char
        else:
            found.append(char)
    return found


def _goes_on(before: str, char: str) -> bool:
    code, last = ord(char), ord(before[-1])
    if code in _GO_ON or unicodedata.category(char) in {"Mn", "Me", "Mc"}:
        return True
    if code in _FLAG_LETTERS and last in _FLAG_LETTERS:
        return len(before) % 2 == 1
    if last == _JOINER:
        return code > 0x2000 or unicodedata.category(char) == "Lo"
    if unicodedata.combining(before[-1]) == _VIRAMA and unicodedata.category(char) == "Lo":
        return True
    if last in _JAMO:
        return code in _JAMO or (code in _SYLLABLES and last not in _JAMO_INSIDE)
    return code in _JAMO_INSIDE and last in _SYLLABLES
