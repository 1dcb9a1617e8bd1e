"""The DICOM conformance statement (PS3.2), written from what the code offers, answers and makes.

A section each: associations, services and transfer syntaxes, statuses, result objects, DICOMweb. Values in,
Markdown out; who wires the node says what it is.
"""

from dicom_node.statement.node import Node, Setting
from dicom_node.statement.page import as_markdown

__all__ = ["Node", "Setting", "as_markdown"]
