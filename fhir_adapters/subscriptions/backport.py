"""Addresses of HL7's "Subscriptions R5 Backport" (hl7.fhir.uv.subscriptions-backport 1.1.0, for R4 4.0.1)."""

CANONICAL = "http://hl7.org/fhir/uv/subscriptions-backport"
_STRUCTURE = f"{CANONICAL}/StructureDefinition"

SUBSCRIPTION_PROFILE = f"{_STRUCTURE}/backport-subscription"
NOTIFICATION_PROFILE = f"{_STRUCTURE}/backport-subscription-notification-r4"
STATUS_PROFILE = f"{_STRUCTURE}/backport-subscription-status-r4"

FILTER_CRITERIA = f"{_STRUCTURE}/backport-filter-criteria"
PAYLOAD_CONTENT = f"{_STRUCTURE}/backport-payload-content"
HEARTBEAT_PERIOD = f"{_STRUCTURE}/backport-heartbeat-period"
TIMEOUT = f"{_STRUCTURE}/backport-timeout"
MAX_COUNT = f"{_STRUCTURE}/backport-max-count"
TOPIC_ADVERTISED = f"{_STRUCTURE}/capabilitystatement-subscriptiontopic-canonical"

STATUS_OPERATION = f"{CANONICAL}/OperationDefinition/backport-subscription-status"
EVENTS_OPERATION = f"{CANONICAL}/OperationDefinition/backport-subscription-events"
SERVER = f"{CANONICAL}/CapabilityStatement/backport-subscription-server-r4"

EMPTY, ID_ONLY, FULL_RESOURCE = "empty", "id-only", "full-resource"
CONTENTS = (EMPTY, ID_ONLY, FULL_RESOURCE)
