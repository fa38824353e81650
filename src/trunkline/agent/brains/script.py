"""BRAIN=script: follows a flow from a YAML file, and does the HTTP that the flow asks for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import httpx
import structlog

from trunkline.agent.brains.brain import Answer, Brain, Call
from trunkline.agent.brains.flow import Flow
from trunkline.agent.brains.flow_run import FlowRun, Speak, Things
from trunkline.agent.brains.http_call import HttpAnswer, HttpRequest, call_http

log = structlog.get_logger()


class ScriptBrain(Brain):
    """One caller's way through a flow.

    Args:
        flow: The flow, checked.
        http: Sends the flow's requests.
        now_wall: The wall clock, in the flow's time zone; tests pass made-up time.
    """

    def __init__(self, flow: Flow, http: httpx.AsyncClient, now_wall: Callable[[], datetime] | None = None) -> None:
        zone = ZoneInfo(flow.timezone) if flow.timezone else None
        self._now_wall = now_wall or (lambda: datetime.now(zone) if zone else datetime.now().astimezone())
        self._http = http
        self._caller = ""
        self.run = FlowRun(flow, self._built_in)

    def greet(self, call: Call) -> Answer:
        """The flow begins; anew, too, where the call was taken over from a worker that was lost."""
        return self._answer(call, self.run.begin())

    def reply(self, call: Call, words: str) -> Answer:
        """What the flow makes of words."""
        return self._answer(call, self.run.words(words))

    def on_keys(self, call: Call, keys: str) -> Answer:
        """What the flow makes of keys."""
        return self._answer(call, self.run.keys(keys))

    def on_silence(self, call: Call) -> Answer:
        """What the flow says into silence."""
        return self._answer(call, self.run.silence())

    def on_transfer_failed(self, call: Call, number: str) -> Answer:
        """Where the flow goes on."""
        return self._answer(call, self.run.transfer_failed())

    async def _answer(self, call: Call, things: Things) -> Answer:
        self._caller = call.caller
        answer: HttpAnswer | None = None
        while True:
            try:
                thing = things.send(answer)
            except StopIteration:
                return
            answer = None
            if isinstance(thing, Speak):
                yield thing.text
            elif isinstance(thing, HttpRequest):
                answer = await call_http(self._http, thing)
                # The URL may have the caller's words in it.
                log.info("script_asked", method=thing.method, status=answer.status, problem=answer.problem)
            else:
                yield thing

    def _built_in(self) -> dict[str, str]:
        now = self._now_wall()
        return {
            "caller": self._caller,
            "date": now.strftime("%Y-%m-%d"),
            "weekday": ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")[now.weekday()],
            "hour": str(now.hour),
            "time": now.strftime("%H:%M"),
        }
