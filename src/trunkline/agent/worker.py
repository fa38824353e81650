"""One agent worker: builds all its objects, and owns the tasks of all its calls on one event loop.

    jobs (orchestrator) -> Worker.take -> Session -> media engine + conversation
                           heartbeat -> orchestrator (leases of all calls)

SIGTERM or Ctrl-C drains: no new calls, those that are left end after `DRAIN_S`.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket

import structlog

from trunkline.agent.answering import Manners
from trunkline.agent.brains.choice import Brains
from trunkline.agent.brains.patience import Patience
from trunkline.agent.conversation import ConversationParts
from trunkline.agent.jobs import JobSocket
from trunkline.agent.orchestrator_client import OrchestratorClient
from trunkline.agent.pipeline.prompts import FAREWELL
from trunkline.agent.pipeline.shared_speech import SharedSpeech
from trunkline.agent.pipeline.smart_turn import SmartTurn
from trunkline.agent.pipeline.stt import providers_warm
from trunkline.agent.pipeline.vad import VoiceActivity
from trunkline.agent.pulse import Pulse
from trunkline.agent.recording import Recorder
from trunkline.agent.room_token import agent_token
from trunkline.agent.session import Job, Session, SessionTools
from trunkline.agent.turn_rules import endpointing_params, turn_params
from trunkline.core import wire
from trunkline.core.errors import Reason, Result, Termination, UpstreamError
from trunkline.marks import MarkSender
from trunkline.media.choice import make_engine
from trunkline.settings import EndOfTurn, Settings

log = structlog.get_logger()

HEARTBEAT_S = 1.0
DRAIN_S = 10.0
RELEASE_S = 8.0
"""After the drain: how long sessions may take to give back what they hold."""


class Worker:
    """All calls of one process.

    Args:
        settings: Everything the worker needs; the keys must be set.

    Raises:
        ConfigError: a provider, brain or engine that can't be had.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = make_engine(settings)
        self._orchestrator = OrchestratorClient(settings)
        self._marks = MarkSender(settings.metrics_endpoint, settings.metrics_transport, settings.worker_id)
        self._activity = VoiceActivity()
        self._smart_turn = SmartTurn() if settings.end_of_turn is EndOfTurn.SMART else None
        self._speech = SharedSpeech(settings)
        self._endpointing = endpointing_params(settings, self._speech.flows)
        self._brains = Brains(settings)
        self._manners = Manners(
            Patience(settings.brain_first_word_s, settings.brain_next_word_s), settings.brain_failure_sentence
        )
        self._draining = False
        self._sessions: dict[str, Session] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._jobs = JobSocket(settings, self)
        host = socket.gethostname()
        folder = settings.recordings_dir
        self._recorder = None if folder is None else Recorder(folder, settings.recordings_keep_days)
        self._pulse = Pulse(
            settings.worker_id, host, self._engine, self._marks, self._load, providers=self._speech.states
        )
        self._tools = SessionTools(
            worker=settings.worker_id,
            host=host,
            engine=self._engine,
            orchestrator=self._orchestrator,
            marks=self._marks,
            make_parts=self._make_parts,
            policy=settings.reply_on,
            recorder=self._recorder,
            sign_token=lambda job: agent_token(settings, job.room, job.identity),
        )

    async def run(self) -> None:
        """Takes calls until told to stop. Raises UpstreamError: the orchestrator refuses the key, or no speech."""
        async with providers_warm(self._settings):
            await self._speech.prompts.prepare()
            await self._engine.start()
            await self._take_calls()

    async def _take_calls(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_number, stop.set)
        log.info("worker_started", capacity=self._settings.worker_capacity, engine=self._engine.name)
        listening = loop.create_task(self._jobs.run())
        beating = loop.create_task(self._beat())
        telling = loop.create_task(self._pulse.run())
        stopping = loop.create_task(stop.wait())
        try:
            await asyncio.wait({listening, beating, telling, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await self._drain(at_once=not stop.is_set())
        finally:
            for task in (listening, beating, telling, stopping):
                task.cancel()
            results = await asyncio.gather(listening, beating, telling, return_exceptions=True)
            await self._close()
        for result in results:
            if isinstance(result, Exception):
                raise result

    def calls(self) -> int:
        """Calls it holds now."""
        return len(self._sessions)

    def _load(self) -> tuple[int, int, bool]:
        """Calls now, calls that it takes, and whether it drains."""
        return self.calls(), self._settings.worker_capacity, self._draining

    def take(self, job: wire.Job) -> str:
        """Starts the session of a call that was given to us; returns why not, as a word, or nothing."""
        if job.call in self._sessions:
            log.info("call_held_already", call=job.call)
            return ""
        if self._draining:
            return "draining"
        if self.calls() >= self._settings.hard_capacity:
            return "full"
        identity = f"{wire.agent_prefix(job.call)}{secrets.token_hex(6)}"
        session = Session(Job(job.call, job.room, self._settings.livekit_ws_url, identity), self._tools)
        self._sessions[job.call] = session
        self._tasks[job.call] = asyncio.get_running_loop().create_task(self._carry(session))
        return ""

    async def _carry(self, session: Session) -> None:
        call = session.job.call
        try:
            await session.run()
        finally:
            del self._sessions[call]
            del self._tasks[call]

    async def _beat(self) -> None:
        """Tells the orchestrator which calls we hold, once a second, and leaves those that are no longer ours.

        Not before we can be given calls: a worker counts as alive by it.
        """
        await self._jobs.connected.wait()
        while True:
            await self._tell_alive()
            await asyncio.sleep(HEARTBEAT_S)

    async def _tell_alive(self) -> None:
        held = [
            wire.HeldLease(call=call, fence=session.lease.fence)
            for call, session in self._sessions.items()
            if session.lease is not None
        ]
        beat = wire.Heartbeat(
            soft_capacity=0 if self._draining else self._settings.worker_capacity,
            hard_capacity=self._settings.hard_capacity,
            calls=held,
        )
        try:
            reply = await self._orchestrator.heartbeat(beat)
        except UpstreamError as error:
            log.warning("heartbeat_failed", error=str(error))
        else:
            self._leave_lost(reply.lost)

    def _leave_lost(self, lost: list[str]) -> None:
        for call in lost:
            session = self._sessions.get(call)
            if session is not None:
                log.warning("lease_lost", call=call)
                session.end(Termination(Result.SERVER_ERROR, Reason.LEASE_LOST))

    async def _drain(self, at_once: bool) -> None:
        self._draining = True
        log.info("worker_draining", calls=self.calls())
        if not at_once:
            await self._tell_alive()
        if self._tasks and not at_once:
            await asyncio.wait(list(self._tasks.values()), timeout=DRAIN_S)
        for session in list(self._sessions.values()):
            session.end(Termination(Result.SERVER_ERROR, Reason.DRAINED))
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=RELEASE_S)

    async def _close(self) -> None:
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        try:
            await self._orchestrator.leave()
        except UpstreamError as error:
            log.warning("leave_notice_failed", error=str(error))
        await self._engine.close()
        await self._orchestrator.close()
        await self._brains.close()
        self._marks.close()
        if self._recorder is not None:
            await asyncio.to_thread(self._recorder.close)
        if self._smart_turn is not None:
            self._smart_turn.close()
        log.info("worker_stopped")

    def _make_parts(self) -> ConversationParts:
        settings = self._settings
        return ConversationParts(
            activity=self._activity,
            stt=self._speech.ear(),
            tts=self._speech.voice(),
            brain=self._brains.make(),
            turns=turn_params(settings),
            endpointing=self._endpointing,
            smart_turn=self._smart_turn,
            early=self._speech.flows,
            manners=self._manners,
            chime=settings.barge_in_chime,
            farewell=self._speech.prompts.of(FAREWELL),
        )
