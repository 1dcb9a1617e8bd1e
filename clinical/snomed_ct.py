"""Identifiers of SNOMED CT (Release File Specifications, 6): 6 to 18 digits, the last a check digit (Verhoeff)."""


def is_sctid(code: str) -> bool:
    """Tell whether a text has the form of an identifier and its check digit: one number in ten has it."""
    if not (code.isascii() and code.isdigit() and 6 <= len(code) <= 18):
        return False
    check = 0
    for place, digit in enumerate(reversed(code)):
        check = _product(check, _permuted(place % 8, int(digit)))
    return check == 0


def _product(left: int, right: int) -> int:
    """Multiply in the dihedral group of ten elements."""
    if left < 5:
        return (left + right) % 5 if right < 5 else (left + right) % 5 + 5
    return (left - right) % 5 + 5 if right < 5 else (left - right) % 5


_PERMUTED = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def _permuted(times: int, digit: int) -> int:
    for _ in range(times):
        digit = _PERMUTED[digit]
    return digit
