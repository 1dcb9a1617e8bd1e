"""What ends an association: the peer broke PS3.7 or PS3.8."""


class ProtocolError(Exception):
    """The association is aborted; nothing that the peer sent is quoted."""
