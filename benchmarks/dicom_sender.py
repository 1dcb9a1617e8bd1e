"""Sends objects by C-STORE, encoded to the last byte before the clock starts: what is measured is the receiver.

    python -m benchmarks.dicom_sender --port 11112 --called CONSILIUM --folder ct --associations 4

Every response is read and must be Success for the message that it answers. Prints one JSON object.
"""

import argparse
import json
import ssl
import struct
import threading
import time
from pathlib import Path

from benchmarks.dicom_objects import SentObject, read_objects
from benchmarks.raw_peer import MESSAGE_ID_RESPONDED_TO, STATUS, ConnectionEnded, RawPeer, message, store_command

LONGEST_PDU = 128 * 1024  # what dcmtk's senders use at most; an acceptor without a limit is sent no longer ones


class Association(threading.Thread):
    """One association and the objects that go over it, one after another. refused: what was not stored."""

    def __init__(
        self,
        port: int,
        called: str,
        objects: list[tuple[SentObject, bytes]],
        start: threading.Barrier,
        tls: ssl.SSLContext | None,
    ) -> None:
        super().__init__()
        self._start_together = start
        self.refused: list[str] = []
        contexts = {1: (objects[0][0].sop_class, (objects[0][0].transfer_syntax,))}
        self._peer = RawPeer(port, tls=tls)
        self._peer.associate(contexts, called=called, calling="BENCHMARK")
        if self._peer.accepted.get(1) != objects[0][0].transfer_syntax:
            raise SystemExit("the receiver does not take these objects")
        longest = min(self._peer.maximum_length or LONGEST_PDU, LONGEST_PDU)
        self._messages = [
            message(1, store_command(one.sop_class, one.sop_instance, number), data, longest)
            for number, (one, data) in enumerate(objects, 1)
        ]

    def run(self) -> None:
        """Send each object, and the next one when it is answered."""
        self._start_together.wait()
        number = 0
        try:
            with self._peer:
                for number, each in enumerate(self._messages, 1):
                    self._peer.send(each)
                    self._judge(number, self._peer.read_command())
                self._peer.release()
        except (ConnectionEnded, OSError) as error:
            self.refused.append(f"message {number}: {error or type(error).__name__}")

    def _judge(self, number: int, answer: dict[int, bytes]) -> None:
        status, answered = (struct.unpack("<H", answer[tag])[0] for tag in (STATUS, MESSAGE_ID_RESPONDED_TO))
        if status != 0 or answered != number:
            self.refused.append(f"message {number}: status 0x{status:04X} for message {answered}")


def caller(pem: Path) -> ssl.SSLContext:
    """Return the context of a caller that has this certificate and believes in it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(pem)
    context.load_cert_chain(pem)
    return context


def send(
    port: int, called: str, folder: Path, associations: int, tls: ssl.SSLContext | None = None
) -> dict[str, object]:
    """Send a folder's objects over so many associations at once; return seconds, objects and what was refused."""
    objects = read_objects(folder)
    start = threading.Barrier(associations + 1)
    senders = [
        Association(port, called, objects[first::associations], start, tls) for first in range(associations)
    ]
    for one in senders:
        one.start()
    start.wait()
    began = time.perf_counter()
    for one in senders:
        one.join()
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "objects": len(objects),
        "refused": [why for one in senders for why in one.refused],
    }


def main() -> None:
    """Send once and print what became of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--called", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--associations", type=int, default=1)
    parser.add_argument("--tls", type=Path, metavar="PEM", help="certificate and key, shown and believed")
    given = parser.parse_args()
    tls = caller(given.tls) if given.tls else None
    print(json.dumps(send(given.port, given.called, given.folder, given.associations, tls)))


if __name__ == "__main__":
    main()
