"""The PDUs of an established association, read in place from one buffer (PS3.8 9.3.5 to 9.3.8). No I/O.

Whoever owns the socket receives into `room()`, says how much came, and takes what it makes up with `next()`. A
data set is handed out in runs of long pieces. Short fragments are pushed together in the buffer, over the headers
between them: a write and a hash for each of the peer's PDUs would cost more. Long ones stay where they came:
moving half a megabyte costs a twentieth of receiving it. Nothing is kept but the buffer and a bounded command set.
"""

import mmap
import struct
from collections.abc import Collection
from dataclasses import dataclass

from dicom_node.command_set import Command, read_command
from dicom_node.pdus import A_ABORT, A_RELEASE_RQ, COMMAND, HEADER_BYTES, LAST, P_DATA_TF
from dicom_node.protocol_error import ProtocolError

BUFFER_BYTES = 1024 * 1024
_LEAST_ROOM = 64 * 1024
LONG_PIECE = 64 * 1024  # what follows it is not moved to it
_END_BODY = 4  # of A-RELEASE-RQ and A-ABORT


@dataclass(frozen=True, slots=True)
class DataSetEnd:
    """The data set is whole; what of it was not taken yet is in `run()`."""


@dataclass(frozen=True, slots=True)
class Released:
    """The peer asks to end the association."""


@dataclass(frozen=True, slots=True)
class Aborted:
    """The peer has ended it."""


Event = Command | DataSetEnd | Released | Aborted


class PduStream:
    """What has come on one association and is not used yet.

    contexts: accepted context IDs. longest_pdu: as we announced it. longest_command: in bytes.
    """

    def __init__(self, contexts: Collection[int], *, longest_pdu: int, longest_command: int) -> None:
        self._contexts, self._longest_pdu, self._longest_command = contexts, longest_pdu, longest_command
        self._buffer = memoryview(bytearray(0))
        self._start = self._end = 0  # of what is not read yet
        self._run: list[tuple[int, int]] = []  # where pieces of the data set lie, somewhere before
        self._pdu_left = self._value_left = 0
        self._context_id = self._control = 0
        self._is_command = False
        self._command = bytearray()
        self._due: int | None = None  # the context of the data set that has to follow

    @property
    def is_idle(self) -> bool:
        """True between two messages: nothing has begun."""
        begun = self._pdu_left or self._value_left or self._command or self._control or self._end > self._start
        return not begun and self._due is None

    def rest(self) -> None:
        """Give the buffer back while nothing is expected; only when idle."""
        self._buffer = memoryview(bytearray(0))
        self._start = self._end = 0
        self._run.clear()

    def put(self, data: bytes) -> None:
        """Take bytes that were read with something else before; at most a buffer full, at the beginning."""
        self.room()[: len(data)] = data
        self.received(len(data))

    def room(self) -> memoryview:
        """Return where to receive the next bytes. First take the run when `is_full`."""
        if not self._buffer:
            # Pages of its own: only those that are written to exist, and all go back to the system at rest. A
            # bytearray is zeroed at once and stays with the process: 300 idle associations cost 110 MB.
            self._buffer = memoryview(mmap.mmap(-1, BUFFER_BYTES))
        if not self._run and self._start:
            # What is left is a piece of a header: next() takes everything else.
            left = self._end - self._start
            self._buffer[:left] = self._buffer[self._start : self._end]
            self._start, self._end = 0, left
        return self._buffer[self._end :]

    def received(self, count: int) -> None:
        """Say how many bytes have come into `room()`."""
        self._end += count

    @property
    def is_full(self) -> bool:
        """True when the run must be taken before more is received."""
        return bool(self._run) and len(self._buffer) - self._end < _LEAST_ROOM

    def run(self) -> list[memoryview]:
        """Return what is here of the data set and forget it; valid until `room()` is asked for.

        Each piece but the last is at least `LONG_PIECE` long.
        """
        run, self._run = self._run, []
        return [self._buffer[start:end] for start, end in run]

    def next(self) -> Event | None:
        """Return the next event, or None when more bytes are needed. Raises ProtocolError."""
        while True:
            if self._value_left:
                if self._end == self._start:
                    return None
                self._take()
            elif self._end - self._start < HEADER_BYTES:
                return None
            elif self._pdu_left:
                self._begin_value()
            elif self._buffer[self._start] == P_DATA_TF:
                self._begin_p_data()
                continue
            else:
                return self._end_of_association()
            if not self._value_left and self._control & LAST:
                self._control = 0
                return self._whole_command() if self._is_command else self._whole_data_set()

    def _end_of_association(self) -> Event | None:
        kind, _, length = struct.unpack_from(">BBL", self._buffer, self._start)
        if kind not in (A_RELEASE_RQ, A_ABORT) or length != _END_BODY:
            raise ProtocolError
        if self._end - self._start < HEADER_BYTES + length:
            return None
        self._start += HEADER_BYTES + length
        return Released() if kind == A_RELEASE_RQ else Aborted()

    def _begin_p_data(self) -> None:
        _, _, self._pdu_left = struct.unpack_from(">BBL", self._buffer, self._start)
        self._start += HEADER_BYTES
        if not HEADER_BYTES <= self._pdu_left <= self._longest_pdu:
            raise ProtocolError

    def _begin_value(self) -> None:
        before = self._context_id
        length, self._context_id, self._control = struct.unpack_from(">LBB", self._buffer, self._start)
        self._start += HEADER_BYTES
        self._pdu_left -= 4 + length
        self._value_left = length - 2
        if self._value_left < 0 or self._pdu_left < 0 or 0 < self._pdu_left < HEADER_BYTES:
            raise ProtocolError
        self._is_command = bool(self._control & COMMAND)
        if self._is_command:
            is_other = bool(self._command) and self._context_id != before
            if is_other or self._due is not None or self._context_id not in self._contexts:
                raise ProtocolError
        elif self._context_id != self._due:
            raise ProtocolError

    def _take(self) -> None:
        count = min(self._value_left, self._end - self._start)
        if self._is_command:
            if len(self._command) + count > self._longest_command:
                raise ProtocolError
            self._command += self._buffer[self._start : self._start + count]
        else:
            self._add_to_run(count)
        self._start += count
        self._value_left -= count

    def _add_to_run(self, count: int) -> None:
        start, end = self._run[-1] if self._run else (0, 0)
        if end and (end == self._start or end - start < LONG_PIECE):
            if end != self._start:
                self._buffer[end : end + count] = self._buffer[self._start : self._start + count]
            self._run[-1] = start, end + count
        else:
            self._run.append((self._start, self._start + count))

    def _whole_command(self) -> Event:
        command = read_command(self._context_id, self._command)
        self._command = bytearray()
        if command.has_data_set:
            self._due = self._context_id
        return command

    def _whole_data_set(self) -> Event:
        self._due = None
        return DataSetEnd()
