"""What the files of issuers and of clients have in common: TOML, keys, addresses, and words for what is wrong.

A mistake is told with the place and what was expected, never with the value.
"""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from clinical.errors import IncorrectInput
from fhir_adapters.allow_list import parse_url
from fhir_adapters.trust.jwk import KeyUnfit, VerifyKey, read_key, refuse_twins

MAX_FILE_BYTES = 1 << 20
_NAMED = re.compile(r"[a-z0-9_]{1,40}")


class FileWrong(IncorrectInput):
    """The file cannot be used. lines: a place and what was expected there, each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = tuple(lines)


def _url(value: str) -> str:
    if parse_url(value) is None:
        raise ValueError("expected an absolute https URL without user, fragment or dot segments")
    return value


AbsoluteUrl = Annotated[str, Field(max_length=2048), BeforeValidator(_url)]
Text = Annotated[str, Field(min_length=1, max_length=2048)]
ShortName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]


class Strict(BaseModel):
    """An entry in which no name may stand that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def document_of(path: Path) -> dict[str, Any]:
    """Return what a file says. Raises FileWrong."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise FileWrong([f"expected a file of at most {MAX_FILE_BYTES} bytes"])
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise FileWrong([f"the file cannot be read ({exc.strerror})"]) from None
    except UnicodeDecodeError:
        raise FileWrong(["expected UTF-8"]) from None
    except tomllib.TOMLDecodeError as exc:
        # The library's words quote no more than one character of the file.
        raise FileWrong([f"expected TOML: {exc}"]) from None


def keys_of(given: Sequence[Mapping[str, Any]], keys_file: Path | None) -> tuple[VerifyKey, ...]:
    """Return the keys that an entry holds or names a file of. Unlike fetched ones, all must be usable."""
    jwks: list[object] = [*given, *(_keys_of_file(keys_file) if keys_file else ())]
    keys, wrong = [], []
    for number, jwk in enumerate(jwks, 1):
        try:
            keys.append(read_key(jwk))
        except KeyUnfit as exc:
            wrong.append(f"keys, number {number}: {exc}")
    try:
        refuse_twins(keys)
    except KeyUnfit as exc:
        wrong.append(f"keys: {exc}")
    if wrong:
        raise FileWrong(wrong)
    return tuple(keys)


def _keys_of_file(path: Path) -> list[object]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise FileWrong([f"keys_file: the file cannot be read ({exc.strerror})"]) from None
    except ValueError:
        raise FileWrong(["keys_file: expected JSON"]) from None
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not keys:
        raise FileWrong(["keys_file: expected a JWK Set with at least one key"])
    return keys


def in_words(exc: ValidationError) -> list[str]:
    """Return our words for what is wrong: the place by names and positions, never the value."""
    lines = []
    for problem in exc.errors(include_input=False, include_url=False):
        place = ".".join(str(part) for part in problem["loc"] if isinstance(part, int) or _NAMED.fullmatch(part))
        text = "not known here" if problem["type"] == "extra_forbidden" else str(problem["msg"])
        text = text.removeprefix("Value error, ")
        lines.append(f"{place}: {text}" if place else text)
    return lines
