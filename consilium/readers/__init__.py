"""How each kind of image model reads: one module a task, one line each in READERS."""

from consilium.readers import lesion, segmentation
from consilium.readers.reader import Look, Reader, Resource, choose

READERS = (segmentation.READER, lesion.READER)

__all__ = ["READERS", "Look", "Reader", "Resource", "choose"]
