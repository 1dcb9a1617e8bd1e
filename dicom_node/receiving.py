"""A data set on its way to its file, with its header read on the way."""

from collections.abc import Callable, Sequence
from pathlib import Path

from clinical.errors import Busy, ClinicalError, IncorrectInput
from dicom_node.header import Header, header_of_beginning, read_header
from dicom_node.part10 import file_beginning
from dicom_node.uids import checked_uid
from record_store.parts import PartFile

_HEAD_BYTES = 64 * 1024  # kept of a data set: what comes before its pixels is mostly less


class ReceivedObject:
    """One object of a C-STORE: a part that grows, or the reason why there is none.

    accepts: returns why nothing can be taken now, or nothing. folder: for the part. object_bytes: the longest
    data set. A refused one is read and dropped, so that the association lives on.
    """

    def __init__(
        self,
        named: tuple[str, str],
        transfer_syntax: str,
        *,
        accepts: Callable[[], str],
        folder: Path,
        object_bytes: int,
        encoding: str = "",
        problem: ClinicalError | None = None,
    ) -> None:
        """Begin. named: SOP class and instance UID, as the command says them. problem: it is refused already."""
        self.named, self.transfer_syntax = named, transfer_syntax
        self._folder, self._left = folder, object_bytes
        self._encoding = encoding or transfer_syntax
        self._beginning = b""
        self._part: PartFile | None = None
        self._head = b""  # of the data set
        self._problem = problem
        if problem is not None:
            return
        try:
            sop_class = checked_uid(named[0], "Affected SOP Class UID")
            sop_instance = checked_uid(named[1], "Affected SOP Instance UID")
            if why := accepts():
                raise Busy(why)
            self._beginning = file_beginning(sop_class, sop_instance, transfer_syntax)
        except ClinicalError as error:
            self._problem = error

    @property
    def part(self) -> PartFile | None:
        """The part that nobody has taken yet."""
        return self._part

    @property
    def is_here(self) -> bool:
        """True while there is a part that nobody has taken."""
        return self._part is not None

    @property
    def size(self) -> int:
        """Bytes of the file so far."""
        return self._part.size if self._part else 0

    def write(self, pieces: Sequence[memoryview], *, last: bool = False) -> None:
        """Take bytes of the data set. last: no more come, and these stay as they are until it is answered."""
        if self._problem is not None or not pieces:
            return
        try:
            self._left -= sum(map(len, pieces))
            if self._left < 0:
                raise Busy("the object is too large")
            if self._part is None:
                self._part = PartFile.new(self._folder)
                (self._part.hold if last else self._part.write)([self._beginning, *pieces])
                self._head = bytes(pieces[0][:_HEAD_BYTES])
            else:
                self._part.write(pieces)
        except ClinicalError as error:
            self._give_up(error)

    def whole(self) -> tuple[PartFile, Header]:
        """Return the complete part and its header; from now on it is the caller's, and `discard` does nothing.

        Raises what hindered it: IncorrectInput when the data set is empty or does not hang together, Busy or
        Fault when it cannot be kept.
        """
        if self._problem is not None:
            raise self._problem
        if self._part is None:
            raise IncorrectInput("the data set is empty")
        start = len(self._beginning)
        header = header_of_beginning(memoryview(self._head), self._part.size - start, self._encoding)
        header = header or read_header(self._part.path, start, self._encoding)
        part, self._part = self._part, None
        return part, header

    def discard(self) -> None:
        """Remove what there is: the association is over, or the object is refused."""
        if self._part is not None:
            self._part.discard()
            self._part = None

    def _give_up(self, problem: ClinicalError) -> None:
        self._problem = problem
        self.discard()
