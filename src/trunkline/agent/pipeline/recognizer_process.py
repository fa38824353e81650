"""The recognizer's own process: decodes the speech of all calls of one worker, away from the worker's loop.

pocketsphinx holds the interpreter's lock while it decodes, so a thread would stop the loop as surely as a direct call.
Run by `recognizer.py` as `python -m trunkline.agent.pipeline.recognizer_process`; reads messages on standard input,
writes them on standard output, ends when its input ends.

A message is a head of nine bytes (kind, burst, length of the body) and its body:

    in   H  JSON: what `PhraseDecoder` takes      out  R  ready
         B  a burst begins                             P  words so far, UTF-8
         A  its next audio, PCM int16 16 kHz           F  the sentence, UTF-8; empty: none was said
         E  it is over: an F is wanted
         D  it is over: nothing is wanted
"""

from __future__ import annotations

import json
import os
import signal
import struct
from collections.abc import Iterator

from trunkline.agent.pipeline.phrase_decoder import PhraseDecoder

HEAD = struct.Struct("<cII")
MAX_BODY_BYTES = 1_000_000
WARM_DECODERS = 2


class Desk:
    """Gives each burst a decoder, and keeps the decoders for the next ones."""

    def __init__(self, hello: bytes) -> None:
        told = json.loads(hello)
        self._sentences: list[str] = told["sentences"]
        self._sounds: list[tuple[str, str]] = [(name, phones) for name, phones in told["sounds"]]
        self._free = [self._new() for _ in range(WARM_DECODERS)]
        self._busy: dict[int, PhraseDecoder] = {}

    def take(self, kind: bytes, burst: int, body: bytes) -> bytes:
        """Performs one message. Returns the answer, encoded; may be empty."""
        if kind == b"B":
            decoder = self._free.pop() if self._free else self._new()
            self._busy[burst] = decoder
            decoder.begin()
            return b""
        if burst not in self._busy:
            return b""
        if kind == b"A":
            words = self._busy[burst].feed(body)
            return encode(b"P", burst, words.encode()) if words is not None else b""
        decoder = self._busy.pop(burst)
        answer = encode(b"F", burst, decoder.finish().encode()) if kind == b"E" else b""
        decoder.drop()
        self._free.append(decoder)
        return answer

    def _new(self) -> PhraseDecoder:
        return PhraseDecoder(self._sentences, self._sounds)


def encode(kind: bytes, burst: int, body: bytes = b"") -> bytes:
    """A message as it goes through the pipe."""
    return HEAD.pack(kind, burst, len(body)) + body


def split(buffer: bytearray) -> Iterator[tuple[bytes, int, bytes]]:
    """Takes all whole messages out of a buffer. Raises ValueError where it does not hold messages."""
    while len(buffer) >= HEAD.size:
        kind, burst, length = HEAD.unpack_from(buffer)
        if length > MAX_BODY_BYTES:
            raise ValueError(f"a message of {length} bytes")
        end = HEAD.size + length
        if len(buffer) < end:
            return
        body = bytes(buffer[HEAD.size : end])
        del buffer[:end]
        yield kind, burst, body


def main(source: int = 0, sink: int = 1) -> None:
    """Serves until `source` ends. Signals meant for the worker are ignored: the worker closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    desk: Desk | None = None
    buffer = bytearray()
    while piece := os.read(source, 65_536):
        buffer += piece
        for kind, burst, body in split(buffer):
            if desk is None:
                desk = Desk(body)
                answer = encode(b"R", 0)
            else:
                answer = desk.take(kind, burst, body)
            _write(sink, answer)


def _write(sink: int, data: bytes) -> None:
    while data:
        data = data[os.write(sink, data) :]


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        raise SystemExit(0) from None
