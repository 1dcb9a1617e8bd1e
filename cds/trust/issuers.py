"""The issuers file: TOML, one `[[issuer]]` for each client system. docs/trust.md shows one that a test reads.

A mistake in it stops start-up with the place and what was expected, never with the value.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cds.trust.issuer import CertificateHeader, IssuerProfile, TrustFile
from cds.trust.issuers_file import Entry, Header
from cds.trust.presets import PRESETS, Preset, completed
from fhir_adapters.allow_list import AllowedServer, Network
from fhir_adapters.trust.toml_file import FileWrong, document_of, in_words, keys_of

RESERVED = {"anonymous", "bearer-token", "unknown"}  # callers without an issuer, in metrics and audit


def load(path: Path, *, production: bool = False) -> tuple[IssuerProfile, ...]:
    """Return the issuers of a file. Raises FileWrong."""
    return read(path, production=production).issuers


def read(path: Path, *, production: bool = False) -> TrustFile:
    """Return what an issuers file says.

    production: refuses issuers that everybody can sign for, and servers on loopback.

    Raises FileWrong with every mistake that was found.
    """
    document = document_of(path)
    entries = document.get("issuer")
    wrong = [
        f"{key}: not known at the top of the file" for key in document.keys() - {"issuer", "client_certificate"}
    ]
    if not isinstance(entries, list) or not entries:
        raise FileWrong([*wrong, "issuer: expected at least one [[issuer]]"])
    profiles = []
    for number, entry in enumerate(entries, 1):
        try:
            profiles.append(_profile(entry, path.parent))
        except FileWrong as exc:
            wrong.extend(f"issuer {number}: {line}" for line in exc.lines)
    wrong.extend(_together(profiles))
    wrong.extend(_not_in_production(profiles) if production else ())
    header = _certificate_header(document.get("client_certificate"), wrong)
    if header is None and any(profile.certificates for profile in profiles):
        wrong.append("client_certificate: expected with issuers that have certificates: where the proxy puts them")
    if wrong:
        raise FileWrong(wrong)
    return TrustFile(tuple(profiles), header)


def _profile(entry: object, folder: Path) -> IssuerProfile:
    if not isinstance(entry, dict):
        raise FileWrong(["expected a table"])
    if not isinstance(entry.get("capabilities", {}), dict):
        raise FileWrong(["capabilities: expected a table"])
    preset = _preset(entry)
    try:
        checked = Entry.model_validate(completed(entry, preset))
    except ValidationError as exc:
        raise FileWrong(in_words(exc)) from None
    certificates = checked.certificates
    return IssuerProfile(
        name=checked.name,
        iss=checked.iss,
        keys=keys_of(checked.keys, folder / checked.keys_file if checked.keys_file else None),
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
        raise FileWrong([f"preset: expected one of {', '.join(PRESETS)}"])
    return PRESETS[name]


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
