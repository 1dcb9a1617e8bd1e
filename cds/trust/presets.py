"""What is known of the usual callers, so that a site need not find it out again.

A preset gives the values that an issuer's entry leaves out; whatever the entry says itself goes before. Vendors'
facts are from their public documents of 2021 to 2026 and from measuring (docs/trust.md says which): check them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Preset:
    """values: fields of an issuer's entry. test_only: anybody can sign as this issuer, so never in production."""

    values: Mapping[str, Any] = field(default_factory=dict)
    test_only: bool = False


# RS384, nbf five minutes before iat, 900 s between iat and exp, iss is the organisation's own FHIR base, `aud` is
# typed in by hand. Of the selection behaviours it knows `any` alone; it honours an override by source.topic.code,
# which every card of ours has.
EPIC = Preset(
    {
        "algorithms": ["RS384"],
        "max_life_s": 900,
        "capabilities": {
            "version": "2.0",
            "selection_behaviors": ["any"],
            "smart_links": True,
            "app_context": True,
            "override_reasons": True,
        },
    }
)

# One issuer for all its organisations; they differ in `tenant` and in the address of their keys (jku), which is
# compared with the list that the vendor publishes. Register the addresses of your organisation.
CERNER = Preset(
    {
        "iss": "https://cds-hooks.cerner.com",
        "algorithms": ["ES384", "RS384", "ES256", "RS256"],
        "capabilities": {"version": "1.0", "smart_links": True, "app_context": True, "override_reasons": False},
    }
)

# The private key of the public sandbox is part of its published program: a token of it proves nothing.
SANDBOX = Preset(
    {
        "iss": "https://sandbox.cds-hooks.org",
        "algorithms": ["ES384"],
        "max_life_s": 300,
        "capabilities": {"version": "2.0", "smart_links": True, "app_context": True, "html": True},
    },
    test_only=True,
)

# The CRD test kit signs ES384 or RS384 for 300 s; iss is the base URL of the instance. A public instance signs
# for whoever opens it.
INFERNO = Preset(
    {
        "algorithms": ["ES384", "RS384"],
        "max_life_s": 300,
        "capabilities": {"version": "2.0", "smart_links": True, "app_context": True, "system_actions": True},
    },
    test_only=True,
)

PRESETS: Mapping[str, Preset] = {"epic": EPIC, "cerner": CERNER, "sandbox": SANDBOX, "inferno": INFERNO}


def completed(entry: Mapping[str, Any], preset: Preset) -> dict[str, Any]:
    """Return an issuer's entry with what it leaves out taken from the preset; capabilities field by field."""
    values = {**preset.values, **entry}
    inner = {**preset.values.get("capabilities", {}), **entry.get("capabilities", {})}
    return values | {"capabilities": inner}
