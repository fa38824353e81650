"""Phone calls for the load test: webhook, TwiML and SIP by Twilio's emulator and the simulated phone."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
import wave
from pathlib import Path

import httpx
import numpy as np
import soxr

from trunkline.cli.placing import CALLED, Exchange
from trunkline.core.errors import TrunklineError
from trunkline.core.units import SAMPLE_RATE_HZ, Pcm, s_to_samples, samples_to_s
from trunkline.emulators.twilio import DialSip, Speak, TwilioEmulator, new_call_sid
from trunkline.loadtest.callers import Outcome, PlacedCall, Tell, run_callers
from trunkline.loadtest.ear import CodeEar, HeardCode
from trunkline.loadtest.impairing import impairment_of
from trunkline.loadtest.load_test import PlaceCalls
from trunkline.loadtest.phone import CallEnded, CallRefusedError, Phone, PhoneEvent, PhoneLine
from trunkline.loadtest.talking import Order, Script
from trunkline.media.impairment import Impairment

PIECE_S = 0.02


class PhoneDoor:
    """Calls that come in as phone calls. See `Door`.

    Args:
        recordings: Folder for what the callers hear, to read the numbers in it; None: they are not read.
        impairment: What is wrong with the callers and their network.
    """

    def __init__(
        self,
        exchange: Exchange,
        phone: Phone,
        http: httpx.AsyncClient,
        *,
        recordings: Path | None,
        impairment: Impairment | None,
    ) -> None:
        self._exchange = exchange
        self._phone = phone
        self._http = http
        self._recordings = recordings
        self._impairment = impairment

    async def place(self, call: PlacedCall) -> PhoneCall:
        """See `Door.place`."""
        twilio = self._exchange.twilio(self._http)
        call.call = new_call_sid()
        number = f"+1555010{call.number % 100:02d}"
        instruction = await twilio.incoming_call(call.call, number, CALLED)
        if not isinstance(instruction, DialSip):
            raise CallRefusedError(instruction.words if isinstance(instruction, Speak) else "hung up", 0)
        recording = self._recordings / f"{call.number}.wav" if self._recordings is not None else None
        impair = self._impairment.of_caller(call.number) if self._impairment is not None else None
        credentials = (instruction.username, instruction.password)
        line = await self._phone.dial(
            call.call, instruction.uri, credentials, caller=number, wav=recording, impair=impair
        )
        up = PhoneCall(line, twilio, call, recording)
        try:
            answered = await line.answered()
        except BaseException:
            await up.hang_up()
            raise
        call.answered_us, up.recording_us = answered.at_us, answered.recording_us
        return up


class PhoneCall:
    """One phone call whose end Twilio tells the orchestrator. See `CallerLine`."""

    def __init__(self, line: PhoneLine, twilio: TwilioEmulator, call: PlacedCall, recording: Path | None) -> None:
        self._line = line
        self._twilio = twilio
        self._call = call
        self._recording = recording
        self.recording_us = 0

    async def play(self, name: str, wav: Path) -> None:
        await self._line.play(name, wav)

    async def event(self) -> PhoneEvent:
        return await self._line.event()

    async def hang_up(self) -> CallEnded:
        ended = await self._line.hang_up()
        status = "completed" if self._call.outcome is Outcome.COMPLETED else "failed"
        # The call is over; where the orchestrator is gone, its own clock ends the call.
        with contextlib.suppress(TrunklineError):
            await self._twilio.dial_ended(self._call.call, status)
        return ended

    async def codes(self) -> list[HeardCode]:
        """Reads the recording, off the loop, and removes it."""
        if self._recording is None or not self._recording.exists():
            return []
        try:
            return await asyncio.to_thread(read_codes, self._recording, self.recording_us)
        finally:
            self._recording.unlink(missing_ok=True)


def read_codes(recording: Path, began_us: int) -> list[HeardCode]:
    """The numbers in the right channel of a recording of a call.

    Args:
        recording: Stereo WAV, 16 bits; caller left, what is heard right.
        began_us: Instant of its first sample.
    """
    with wave.open(str(recording)) as source:
        rate_hz = source.getframerate()
        both = np.frombuffer(source.readframes(source.getnframes()), dtype="<i2")
    heard: Pcm = soxr.resample(both[1::2].astype(np.int16), rate_hz, SAMPLE_RATE_HZ)
    ear, piece = CodeEar(), s_to_samples(PIECE_S)
    for end in range(piece, heard.size + 1, piece):
        ear.listen(heard[end - piece : end], began_us + round(samples_to_s(end) * 1e6))
    return ear.found


def phone_placer(exchange: Exchange, program: Path) -> PlaceCalls:
    """Places a load test's calls as phone calls."""

    async def place(orders: list[Order], script: Script, tell: Tell, stop: asyncio.Event) -> None:
        with tempfile.TemporaryDirectory(prefix="trunkline-loadtest-") as folder:
            impairment = impairment_of(script.impair, script.noise, script.seed)
            recordings = Path(folder) if script.coded else None
            async with Phone(program) as phone, httpx.AsyncClient(trust_env=False) as http:
                door = PhoneDoor(exchange, phone, http, recordings=recordings, impairment=impairment)
                calling = asyncio.create_task(run_callers(orders, time.monotonic(), door, script, tell))
                stopping = asyncio.create_task(stop.wait())
                try:
                    await asyncio.wait([calling, stopping], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in (calling, stopping):
                        task.cancel()
                    await asyncio.gather(calling, stopping, return_exceptions=True)

    return place
