"""pynetdicom without its own logging: it prints command sets and quotes what decoders could not read."""

import logging

from pynetdicom import _config


def quieten_pynetdicom() -> None:
    """Keep identifiers of patients out of the logs. What matters of an association we log ourselves."""
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
