"""What is sent to an endpoint of an R4 subscription by criteria (R4 Subscription, rest-hook).

Without a payload an empty POST says that something has matched. With one the resource is sent as a RESTful update:
PUT [endpoint]/[type]/[id] with the bytes of the version that matched, and DELETE when it is gone, so that the same
message twice leaves the same behind.
"""

from fhir_adapters.media_type import MEDIA_TYPE
from fhir_adapters.subscriptions.asked import Asked
from fhir_adapters.subscriptions.rest_hook import Message
from record_store.resource_history import Version
from record_store.subscriptions import Held

JSON_CONTENT = ("Content-Type", f"{MEDIA_TYPE}; charset=utf-8; fhirVersion=4.0")


def message_about(held: Held, asked: Asked, version: Version) -> Message:
    """Return the message that tells a version to a subscription by criteria."""
    if not asked.payload:
        return Message("POST", asked.endpoint, b"", held.headers)
    stored = version.stored
    url = f"{asked.endpoint}/{stored.type}/{stored.id}"
    if version.deleted:
        return Message("DELETE", url, b"", held.headers)
    return Message("PUT", url, stored.body, (*held.headers, JSON_CONTENT))
