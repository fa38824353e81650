"""A media engine without a network, run as a program: speaks the worker's protocol, and misbehaves when told to.

A token tells it what to do with a leg: "refuse" answers the join with Disconnected, "silent" does not answer at all,
"die once" ends the first program that meets it. DTMF tells it what to do with itself: "die", "hang" or "garbage"; or
with the leg: "lost" and "told" end it. Everybody else's room has a phone called "ann" in it, who hears the track at
once. Every command is noted in the file that FAKE_ENGINE_LOG names, and the last token beside it.
"""

from __future__ import annotations

import argparse
import os
import socket
import struct
import threading
import time
from pathlib import Path

from trunkline.media.pb import media_pb2 as pb

HEAD = struct.Struct(">I")


class FakeEngine:
    """Serves one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()
        self._hanging = False
        self._legs: set[int] = set()
        self._log = Path(os.environ["FAKE_ENGINE_LOG"])
        self._tokens = self._log.with_name("token")

    def serve(self) -> None:
        self.tell(0, ready=pb.Ready(version="fake"))
        threading.Thread(target=self.tick, daemon=True).start()
        buffer = b""
        while data := self._sock.recv(65_536):
            buffer += data
            while len(buffer) >= HEAD.size:
                (length,) = HEAD.unpack_from(buffer)
                if len(buffer) < HEAD.size + length:
                    break
                self.do(pb.Command.FromString(buffer[HEAD.size : HEAD.size + length]))
                buffer = buffer[HEAD.size + length :]

    def tick(self) -> None:
        """20 ms of the loud legs, those with odd numbers."""
        while not self._hanging:
            time.sleep(0.02)
            if not self._legs:
                continue
            frames = pb.Frames(at_us=time.monotonic_ns() // 1000)
            for leg in self._legs:
                if leg % 2:
                    frames.frames.add(leg=leg, pcm=b"\x01\x00" * 320)
            self.write(pb.Report(frames=frames))

    def do(self, command: pb.Command) -> None:
        what = command.WhichOneof("do")
        with self._log.open("a") as log:
            if what != "ask_stats" or command.leg:
                shared = " shared" if command.join.shared else ""
                log.write(f"{command.leg} {what}{shared}\n")
                if what == "join":
                    self._tokens.write_text(command.join.token)
        match what:
            case "join":
                self.join(command.leg, command.join.token)
            case "ask_stats":
                self.tell(command.leg, stats=pb.Stats(received=7, ran_dry=1))
            case "leave":
                self._legs.discard(command.leg)
                self.tell(command.leg, left=pb.Left(stats=pb.Stats(sent=3)))
            case "publish":
                self.tell(command.leg, published=pb.Published())
                self.tell(command.leg, track_heard=pb.TrackHeard())
            case "play":
                self.tell(command.leg, first_packet=pb.FirstPacket(utterance=command.play.utterance))
            case "end":
                self.tell(command.leg, last_packet=pb.LastPacket(utterance=command.end.utterance, samples=320))
            case "send_dtmf":
                self.misbehave(command.leg, command.send_dtmf.digits)

    def join(self, leg: int, token: str) -> None:
        if token == "silent":
            return
        if token == "die once":
            again = self._log.with_name("died")
            if not again.exists():
                again.touch()
                os._exit(1)
        if token == "refuse":
            self.tell(leg, disconnected=pb.Disconnected(reason="join_failed", detail="no such room"))
            return
        phone = pb.ParticipantJoined(identity="ann", kind=pb.ParticipantJoined.PHONE, attributes={"call.token": "t"})
        if token != "alone" and not (token == "left meanwhile" and leg > 1):
            self.tell(leg, participant_joined=phone)
        self._legs.add(leg)
        self.tell(leg, joined=pb.Joined())

    def misbehave(self, leg: int, how: str) -> None:
        if how == "die":
            os._exit(1)
        if how in ("lost", "told"):
            self.tell(leg, disconnected=pb.Disconnected(reason="signal_close", by_server=how == "told"))
        if how == "garbage":
            self._sock.sendall(HEAD.pack(2**31) + b"x")
        self._hanging = how == "hang"

    def tell(self, leg: int, **what: object) -> None:
        if not self._hanging:
            self.write(pb.Report(event=pb.Event(leg=leg, at_us=time.monotonic_ns() // 1000, **what)))  # type: ignore[arg-type]

    def write(self, report: pb.Report) -> None:
        body = report.SerializeToString()
        with self._lock:
            self._sock.sendall(HEAD.pack(len(body)) + body)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    FakeEngine(socket.socket(fileno=parser.parse_args().fd)).serve()
