"""The issuers file: TOML, one `[[issuer]]` for each client system. docs/trust.md shows one that a test reads.

A mistake in it stops start-up with the place and what was expected, never with the value.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cds.trust.issuer import CertificateHeader, IssuerProfile, TrustFile
from cds.trust.issuers_file import Entry, Header, in_words
from cds.trust.presets import PRESETS, Preset, completed
from clinical.errors import IncorrectInput
from fhir_adapters.allow_list import AllowedServer, Network
from fhir_adapters.trust.jwk import KeyUnfit, VerifyKey, read_key, refuse_twins

MAX_FILE_BYTES = 1 << 20
RESERVED = {"anonymous", "bearer-token", "unknown"}  # callers without an issuer, in metrics and audit


class IssuersWrong(IncorrectInput):
    """The issuers file cannot be used. lines: a place and what was expected there, each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = tuple(lines)


def load(path: Path, *, production: bool = False) -> tuple[IssuerProfile, ...]:
    """Return the issuers of a file. Raises IssuersWrong."""
    return read(path, production=production).issuers


def read(path: Path, *, production: bool = False) -> TrustFile:
    """Return what an issuers file says.

    production: refuses issuers that everybody can sign for, and servers on loopback.

    Raises IssuersWrong with every mistake that was found.
    """
    document = _document(path)
    entries = document.get("issuer")
    wrong = [
        f"{key}: not known at the top of the file" for key in document.keys() - {"issuer", "client_certificate"}
    ]
    if not isinstance(entries, list) or not entries:
        raise IssuersWrong([*wrong, "issuer: expected at least one [[issuer]]"])
    profiles = []
    for number, entry in enumerate(entries, 1):
        try:
            profiles.append(_profile(entry, path.parent))
        except IssuersWrong as exc:
            wrong.extend(f"issuer {number}: {line}" for line in exc.lines)
    wrong.extend(_together(profiles))
    wrong.extend(_not_in_production(profiles) if production else ())
    header = _certificate_header(document.get("client_certificate"), wrong)
    if header is None and any(profile.certificates for profile in profiles):
        wrong.append("client_certificate: expected with issuers that have certificates: where the proxy puts them")
    if wrong:
        raise IssuersWrong(wrong)
    return TrustFile(tuple(profiles), header)


def _document(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise IssuersWrong([f"expected a file of at most {MAX_FILE_BYTES} bytes"])
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise IssuersWrong([f"the file cannot be read ({exc.strerror})"]) from None
    except UnicodeDecodeError:
        raise IssuersWrong(["expected UTF-8"]) from None
    except tomllib.TOMLDecodeError as exc:
        # The library's words quote no more than one character of the file.
        raise IssuersWrong([f"expected TOML: {exc}"]) from None


def _profile(entry: object, folder: Path) -> IssuerProfile:
    if not isinstance(entry, dict):
        raise IssuersWrong(["expected a table"])
    if not isinstance(entry.get("capabilities", {}), dict):
        raise IssuersWrong(["capabilities: expected a table"])
    preset = _preset(entry)
    try:
        checked = Entry.model_validate(completed(entry, preset))
    except ValidationError as exc:
        raise IssuersWrong(in_words(exc)) from None
    certificates = checked.certificates
    return IssuerProfile(
        name=checked.name,
        iss=checked.iss,
        keys=_keys(checked, folder),
        jku=checked.jku,
        algorithms=frozenset(checked.algorithms),
        aud_aliases=frozenset(checked.aud_aliases),
        aud_bases=tuple(base.rstrip("/") for base in checked.aud_bases),
        max_life_s=checked.max_life_s,
        leeway_s=checked.leeway_s,
        tenants=frozenset(checked.tenants),
        fhir_bases=tuple(AllowedServer(base, checked.network) for base in checked.fhir_bases),
        network=checked.network,
        capabilities=checked.capabilities,
        certificates=frozenset(certificates.sha256 if certificates else ()),
        certificate_use=certificates.use if certificates else None,
        test_only=preset.test_only,
    )


def _preset(entry: Mapping[str, Any]) -> Preset:
    name = entry.get("preset")
    if name is None:
        return Preset()
    if name not in PRESETS:
        raise IssuersWrong([f"preset: expected one of {', '.join(PRESETS)}"])
    return PRESETS[name]


def _keys(entry: Entry, folder: Path) -> tuple[VerifyKey, ...]:
    """Return the keys that the entry holds or names a file of. Unlike fetched ones, all must be usable."""
    jwks: list[object] = [*entry.keys, *(_keys_of_file(folder / entry.keys_file) if entry.keys_file else ())]
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
        raise IssuersWrong(wrong)
    return tuple(keys)


def _keys_of_file(path: Path) -> list[object]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise IssuersWrong([f"keys_file: the file cannot be read ({exc.strerror})"]) from None
    except ValueError:
        raise IssuersWrong(["keys_file: expected JSON"]) from None
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not keys:
        raise IssuersWrong(["keys_file: expected a JWK Set with at least one key"])
    return keys


def _together(profiles: list[IssuerProfile]) -> Iterator[str]:
    """Yield what is wrong between issuers: whose a token is must never be a guess."""
    names = [profile.name for profile in profiles]
    yield from (f"name: {name} is given twice" for name in sorted({n for n in names if names.count(n) > 1}))
    certificates = [print_ for profile in profiles for print_ in profile.certificates]
    if len(set(certificates)) != len(certificates):
        yield "certificates: one certificate belongs to two issuers"
    yield from (f"name: {name} is taken by this server" for name in names if name in RESERVED)
    for profile in profiles:
        same = [other for other in profiles if other.iss == profile.iss and other is not profile]
        if same and not profile.tenants:
            yield f"{profile.name}: issuers that share one iss are told apart by tenants; expected some"
        if any(other.tenants & profile.tenants for other in same):
            yield f"{profile.name}: a tenant belongs to two issuers with the same iss"


def _not_in_production(profiles: list[IssuerProfile]) -> Iterator[str]:
    known = {preset.values.get("iss") for preset in PRESETS.values() if preset.test_only}
    for profile in profiles:
        if profile.test_only or profile.iss in known:
            yield f"{profile.name}: everybody can sign as this issuer; not in the production profile"
        if profile.network is Network.LOOPBACK:
            yield f"{profile.name}: network 'loopback' is not for the production profile"


def _certificate_header(value: object, wrong: list[str]) -> CertificateHeader | None:
    if value is None:
        return None
    try:
        checked = Header.model_validate(value)
    except ValidationError as exc:
        wrong.extend(f"client_certificate: {line}" for line in in_words(exc))
        return CertificateHeader("", ())
    return CertificateHeader(checked.header, checked.proxies)
