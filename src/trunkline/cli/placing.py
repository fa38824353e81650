"""Places one phone call to a stack, as Twilio would: webhook, TwiML, SIP, a conversation, the end of the dial.

Used by `demo`, `call` and the system tests. Also fetches what the agent recorded of the call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from trunkline.cli.call_report import CallReport
from trunkline.core.errors import CallError, TrunklineError
from trunkline.core.units import s_to_us
from trunkline.emulators.twilio import DialSip, Speak, TwilioEmulator, new_call_sid
from trunkline.loadtest.conversation import Caller, Utterance
from trunkline.loadtest.phone import Phone
from trunkline.loadtest.records import fetch_records
from trunkline.loadtest.verdict import CallResult, match_turns

CALLED = "+15550199"
RECORDS_TIMEOUT_S = 6.0
"""How long after the calls' end their records may take to reach the collector."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Where a stack takes calls and keeps their records.

    Args:
        orchestrator_url: Gets the webhooks.
        public_url: Is signed in them.
        auth_token: Signs them.
        metrics_url: Has the records.
    """

    orchestrator_url: str
    public_url: str
    auth_token: str = field(repr=False)
    metrics_url: str

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Exchange:
        """The exchange of a stack whose environment this is."""
        return cls(
            env["ORCH_URL"],
            env["ORCH_PUBLIC_URL"],
            env["TWILIO_AUTH_TOKEN"],
            env["METRICS_ENDPOINT"].removesuffix("/ingest"),
        )

    def twilio(self, http: httpx.AsyncClient) -> TwilioEmulator:
        """Who announces calls to it."""
        return TwilioEmulator(self.orchestrator_url, self.auth_token, http, self.public_url)


@dataclass(frozen=True, slots=True)
class Order:
    """One call to be placed.

    Args:
        number: Which call of the run.
        script: What the caller says.
        recording: Stereo WAV to write; None: none.
        tell: Takes each step, in a few words.
    """

    number: int
    script: list[Utterance]
    recording: Path | None = None
    tell: Callable[[str], None] = lambda _step: None

    @property
    def caller(self) -> str:
        """The number it comes from: none that anybody has."""
        return f"+1555010{self.number % 100:02d}"


async def place_call(exchange: Exchange, phone: Phone, http: httpx.AsyncClient, order: Order) -> CallResult:
    """Places a call, speaks its script, hangs up. What goes wrong is in the result's `problem`, never raised."""
    twilio = exchange.twilio(http)
    result = CallResult(new_call_sid(), order.number, recording=order.recording)
    status = "failed"
    try:
        result.dialled_us = s_to_us(time.monotonic())
        instruction = await twilio.incoming_call(result.call, order.caller, CALLED)
        if not isinstance(instruction, DialSip):
            words = instruction.words if isinstance(instruction, Speak) else "hung up"
            raise CallError(f"not dialled: {words}")
        await _converse(phone, instruction, order, result)
        status = "completed"
    except TrunklineError as error:
        result.problem = str(error)
    finally:
        await _tell_end(twilio, result, status)
    return result


async def _converse(phone: Phone, dial: DialSip, order: Order, result: CallResult) -> None:
    line = await phone.dial(
        result.call, dial.uri, (dial.username, dial.password), caller=order.caller, wav=order.recording
    )
    try:
        result.answered_us = (await line.answered()).at_us
        order.tell(f"answered after {(result.answered_us - (result.dialled_us or 0)) / 1e6:.2f} s")
        caller = Caller(line, order.script, result.turns, order.tell)
        await caller.run()
    finally:
        result.phone = (await line.hang_up()).stats
    order.tell("hung up")


async def _tell_end(twilio: TwilioEmulator, result: CallResult, status: str) -> None:
    try:
        await twilio.dial_ended(result.call, status)
    except TrunklineError as error:
        result.problem = result.problem or str(error)


async def collect_reports(exchange: Exchange, results: list[CallResult]) -> list[CallReport]:
    """Puts what the callers lived and what the agents recorded together. Raises UpstreamUnavailableError."""
    ends, turns = await fetch_records(exchange.metrics_url, [result.call for result in results], RECORDS_TIMEOUT_S)
    reports = []
    for result in results:
        own = [turn for turn in turns if turn.call == result.call]
        reports.append(CallReport(result, ends.get(result.call), own, match_turns(result, own)))
    return reports
