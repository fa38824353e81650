"""One call on a worker: performs what the call machine decides, from the job to the end.

Wires the orchestrator, the media engine and the conversation together and decides nothing. One session is one task;
what it starts ends with it. `run` is the border at which a failure of one call stops: it becomes that call's
termination, is logged and counted, and touches no other call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from trunkline.agent.brains.brain import Call
from trunkline.agent.clock import LoopClock
from trunkline.agent.conversation import Conversation, ConversationParts, with_policy
from trunkline.agent.orchestrator_client import OrchestratorClient
from trunkline.agent.recorded_leg import RecordedLeg
from trunkline.agent.recording import Recorder, Recording
from trunkline.core import wire
from trunkline.core.call import (
    AskAdmission,
    CallEffect,
    CallerAdmitted,
    CallerJoined,
    CallerLeft,
    CallEvent,
    CallMachine,
    EndCall,
    Failed,
    JoinRoom,
    LeaseGranted,
    PublishTrack,
    RoomJoined,
    StartConversation,
    TrackHeard,
)
from trunkline.core.errors import (
    LocalProtocolError,
    Reason,
    Result,
    Termination,
    TrunklineError,
    UpstreamError,
    UpstreamRejectedError,
)
from trunkline.core.machine import Driver
from trunkline.core.turn_events import CloseTurn
from trunkline.core.units import s_to_us
from trunkline.media import engine as media

log = structlog.get_logger()

END_NOTICE_TRIES = 3
END_NOTICE_PAUSE_S = 0.5
END_NOTICE_S = 9.0
"""Longest time for all tries to tell the end."""

CONVERSATION_END_S = 8.0
"""More than the conversation's own limits, which leave less behind than this one."""

LEG_LEAVE_S = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """A call that the orchestrator gave to this worker.

    Args:
        call: Its id.
        room: The room to join.
        url: The SFU.
        identity: The agent's in that room, no other agent's.
    """

    call: str
    room: str
    url: str
    identity: str


class RecordSink(Protocol):
    """Where records go; never blocks and never raises."""

    def send(self, record: wire.TurnRecord | wire.CallRecord) -> None:
        """Takes a record; the sink numbers it."""
        ...


@dataclass(frozen=True, slots=True)
class SessionTools:
    """What all sessions of a worker share.

    Args:
        worker: The worker's id.
        host: Name of this machine, for the records.
        engine: Carries the audio.
        orchestrator: Knows the calls.
        marks: Takes the records.
        make_parts: Makes a conversation's parts, new for each call.
        policy: When the agent answers, for the records, in calls that have no policy of their own.
        sign_token: Gives a new token for a job's room.
        recorder: Records the calls; None: they are not recorded.
    """

    worker: str
    host: str
    engine: media.MediaEngine
    orchestrator: OrchestratorClient
    marks: RecordSink
    make_parts: Callable[[], ConversationParts]
    policy: str
    sign_token: Callable[[Job], str]
    recorder: Recorder | None = None


class Session:
    """One call.

    Args:
        job: The call and its room.
        tools: What the worker's sessions share.
        now: Monotonic seconds; tests pass made-up time.
    """

    def __init__(self, job: Job, tools: SessionTools, now: Callable[[], float] = time.monotonic) -> None:
        self.job = job
        self.lease: wire.Lease | None = None
        self._tools = tools
        self._clock = LoopClock(asyncio.get_running_loop(), now)
        self._machine = CallMachine(now())
        self._driver: Driver[CallEvent, CallEffect] = Driver(self._machine, self._perform, self._clock)
        self._ended: asyncio.Future[Termination] = asyncio.get_running_loop().create_future()
        self._tasks: asyncio.TaskGroup | None = None
        self._leg: media.MediaLeg | None = None
        self._conversation: Conversation | None = None
        self._recording: Recording | None = None
        self._caller = ""
        self._started_at = now()
        self._answered_at: float | None = None
        self._policy = tools.policy

    async def run(self) -> Termination:
        """Carries the call until it ends, whatever happens, and releases what it held; on cancel, too."""
        with structlog.contextvars.bound_contextvars(call=self.job.call):
            termination = Termination(Result.SERVER_ERROR, Reason.UNKNOWN)
            try:
                async with asyncio.TaskGroup() as tasks:
                    self._tasks = tasks
                    self._driver.arm()
                    self._start(self._take_lease())
                    termination = await self._ended
                    raise _CallOver
            except* _CallOver:
                pass
            except* Exception as errors:
                log.exception("session_broke", error=repr(errors.exceptions[0]))
                termination = Termination(Result.SERVER_ERROR, Reason.AGENT_FAILED)
            finally:
                self._driver.close()
                await self._release_whole(termination)
            return termination

    def end(self, termination: Termination) -> None:
        """Ends the call from outside: drain, lost lease."""
        self._feed(Failed(termination))

    def hang_up(self) -> None:
        """Ends the call for the brain."""
        self.end(Termination(Result.SUCCESS, Reason.AGENT_HUNG_UP))

    async def transfer(self, number: str) -> None:
        """Hands the caller over for the brain, which ends the call here. Raises UpstreamError: the caller stays."""
        await self._tools.orchestrator.transfer(self.job.call, self._fence(), number)
        self.end(Termination(Result.SUCCESS, Reason.TRANSFERRED))

    def on_frame(self, frame: media.CallerFrame) -> None:
        """Takes 20 ms of the caller."""
        if self._conversation is None:
            return
        try:
            if self._recording is not None:
                self._recording.caller(frame)
            self._conversation.on_frame(frame)
        except Exception as error:  # noqa: BLE001 (the session border)
            self._broke(error)

    def on_event(self, event: media.MediaEvent) -> None:
        """Translates what the media engine tells."""
        try:
            self._take_event(event)
        except Exception as error:  # noqa: BLE001 (the session border)
            self._broke(error)

    def _broke(self, error: Exception) -> None:
        """What breaks in here ends this call, and not the engine that carries the others."""
        log.exception("session_broke", call=self.job.call, error=repr(error))
        self._feed(Failed(Termination(Result.SERVER_ERROR, Reason.AGENT_FAILED)))

    def _take_event(self, event: media.MediaEvent) -> None:
        match event:
            case media.ParticipantJoined(identity, kind, attributes) if self._may_be_caller(identity, kind):
                self._caller = self._caller or attributes.get(wire.CALLER_ATTRIBUTE, "")
                self._feed(CallerJoined(identity, attributes.get(wire.CALL_TOKEN_ATTRIBUTE, "")))
            case media.ParticipantLeft(identity):
                self._feed(CallerLeft(identity))
            case media.TrackHeard():
                self._feed(TrackHeard())
            case media.Disconnected(reason, by_server):
                log.info("media_disconnected", reason=reason)
                self._feed(Failed(_termination_of(reason, by_server)))
            case media.DataReceived(payload, topic):
                log.info("data_received", bytes=len(payload), topic_chars=len(topic))
            case media.CallerMuted(muted):
                log.info("caller_muted", muted=muted)
            case media.Reconnecting() | media.Reconnected():
                log.warning("media_connection", state=type(event).__name__.lower())
            case _ if self._conversation is not None:
                self._conversation.on_media(event)

    def _perform(self, effect: CallEffect) -> None:
        match effect:
            case JoinRoom():
                self._start(self._join())
            case AskAdmission(identity, token):
                self._start(self._ask_admission(identity, token))
            case PublishTrack(identity):
                self._start(self._publish(identity))
            case StartConversation():
                self._answered_at = self._clock.time()
                log.info("call_answered")
                assert self._conversation is not None
                assert self._leg is not None
                if self._tools.recorder is not None:
                    self._recording = self._tools.recorder.begin(self.job.call)
                    self._leg = RecordedLeg(self._leg, self._recording)
                resumed = self.lease is not None and self.lease.admitted
                self._conversation.begin(self._leg, Call(self.job.call, self._caller, resumed))
                self._start(self._tell_answered())
            case EndCall(termination):
                if self._leg is not None:
                    self._leg.hide()
                if not self._ended.done():
                    self._ended.set_result(termination)

    async def _take_lease(self) -> None:
        self.lease = await self._tools.orchestrator.lease(self.job.call, self.job.room)
        by_room_token = self.lease.kind is wire.CallKind.WEBRTC
        self._feed(LeaseGranted(self.lease.admitted, self.lease.participant if by_room_token else ""))

    async def _join(self) -> None:
        """Joins the room and starts the pipeline at the same time: providers connect while the phone is dialled."""
        assert self.lease is not None
        sign = self._tools.sign_token
        parts = with_policy(self._tools.make_parts(), self.lease.reply_on)
        self._policy = parts.turns.policy
        self._conversation = Conversation(parts, self._clock, self._on_turn, self)
        preparing = asyncio.get_running_loop().create_task(self._conversation.prepare())
        try:
            self._leg = await self._tools.engine.join(self.job.url, sign(self.job), self, renew=lambda: sign(self.job))
            await preparing
        finally:
            preparing.cancel()
            await asyncio.gather(preparing, return_exceptions=True)
        self._feed(RoomJoined())

    async def _ask_admission(self, identity: str, token: str) -> None:
        await self._tools.orchestrator.admit(self.job.call, self._fence(), identity, token)
        self._feed(CallerAdmitted())

    async def _publish(self, identity: str) -> None:
        assert self._leg is not None
        await self._leg.listen_to(identity)
        await self._leg.publish()

    async def _tell_answered(self) -> None:
        try:
            await self._tools.orchestrator.answered(self.job.call, self._fence())
        except UpstreamError as error:
            # The heartbeat keeps the lease; the orchestrator only knows the call's state a little late.
            log.warning("answered_notice_failed", error=str(error))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._tasks is not None
        self._tasks.create_task(self._guard(work))

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        """An error of one step ends the call with the error's own termination."""
        try:
            await work
        except TrunklineError as error:
            log.warning("call_step_failed", error=str(error))
            self._feed(Failed(error.termination))
        except TimeoutError:
            log.warning("call_step_timed_out")
            self._feed(Failed(Termination(Result.SERVER_ERROR, Reason.SETUP_FAILED)))

    def _feed(self, event: CallEvent) -> None:
        try:
            self._driver.feed(event)
        except LocalProtocolError as error:
            log.error("call_event_illegal", error=str(error))

    async def _release_whole(self, termination: Termination) -> None:
        """Releases, even where the session is cancelled meanwhile: every step is bounded in time."""
        releasing = asyncio.get_running_loop().create_task(self._release(termination))
        try:
            await asyncio.shield(releasing)
        except asyncio.CancelledError:
            await asyncio.wait({releasing})
            raise

    async def _release(self, termination: Termination) -> None:
        """Gives back everything, whatever state the call was in. No step that fails keeps a later one from its turn."""
        ended_at = self._clock.time()
        if self._conversation is not None:
            await self._within("conversation", CONVERSATION_END_S, self._conversation.end())
        if self._leg is not None:
            await self._within("leg", LEG_LEAVE_S, self._leg.leave())
        if self.lease is not None and termination.reason is not Reason.LEASE_LOST:
            await self._within("end_notice", END_NOTICE_S, self._tell_end(termination))
        self._send_record(termination, ended_at)
        log.info("call_ended", result=termination.result, reason=termination.reason)

    @staticmethod
    async def _within(step: str, limit_s: float, work: Coroutine[Any, Any, None]) -> None:
        """One step of the release, within its time limit; its failure is logged and goes no further.

        It is a task of its own, because a step that swallows its cancellation must not hold up the others.
        """
        task = asyncio.get_running_loop().create_task(work)
        await asyncio.wait({task}, timeout=limit_s)
        if not task.done():
            task.cancel()
            log.error("release_step_timed_out", step=step, limit_s=limit_s)
        elif task.cancelled():
            log.error("release_step_failed", step=step, error="cancelled")
        elif (error := task.exception()) is not None:
            log.error("release_step_failed", step=step, error=repr(error), exc_info=error)

    async def _tell_end(self, termination: Termination) -> None:
        for attempt in range(END_NOTICE_TRIES):
            try:
                await self._tools.orchestrator.end(self.job.call, self._fence(), termination)
                return
            except UpstreamRejectedError as error:
                # The call is not ours any more, or gone: there is nothing left to release.
                log.info("end_notice_refused", error=str(error))
                return
            except UpstreamError as error:
                log.warning("end_notice_failed", error=str(error), attempt=attempt + 1)
                await asyncio.sleep(END_NOTICE_PAUSE_S)

    def _on_turn(self, turn: CloseTurn) -> None:
        self._tools.marks.send(
            wire.TurnRecord(
                sender=self._tools.worker,
                seq=0,
                host=self._tools.host,
                worker=self._tools.worker,
                call=self.job.call,
                turn=turn.turn,
                policy=self._policy,
                outcome=turn.outcome,
                marks_us={mark: s_to_us(at) for mark, at in turn.marks.items()},
                understood=turn.understood,
                answer=turn.answer,
                heard=turn.heard,
                heard_samples=turn.heard_samples,
            )
        )

    def _send_record(self, termination: Termination, ended_at: float) -> None:
        turns = self._conversation.machine if self._conversation is not None else None
        self._tools.marks.send(
            wire.CallRecord(
                sender=self._tools.worker,
                seq=0,
                host=self._tools.host,
                worker=self._tools.worker,
                call=self.job.call,
                room=self.job.room,
                kind=self.lease.kind if self.lease is not None else wire.CallKind.PHONE,
                engine=self._tools.engine.name,
                started_us=s_to_us(self._started_at),
                answered_us=None if self._answered_at is None else s_to_us(self._answered_at),
                ended_us=s_to_us(ended_at),
                result=termination.result,
                reason=termination.reason,
                turns=turns.turns if turns is not None else 0,
                barge_ins=turns.barge_ins if turns is not None else 0,
            )
        )

    def _may_be_caller(self, identity: str, kind: media.ParticipantKind) -> bool:
        """Only what came in by the call's own door is its caller."""
        if self.lease is not None and self.lease.kind is wire.CallKind.PHONE:
            return kind is media.ParticipantKind.PHONE
        expected = self.lease.participant if self.lease is not None else ""
        return kind is not media.ParticipantKind.AGENT and expected in ("", identity)

    def _fence(self) -> int:
        assert self.lease is not None
        return self.lease.fence


class _CallOver(Exception):  # noqa: N818 (no error: it ends the task group)
    """Leaves the session's task group when the call is over."""


def _termination_of(reason: str, by_server: bool) -> Termination:
    if reason == "duplicate_identity":
        return Termination(Result.SERVER_ERROR, Reason.LEASE_LOST)
    if by_server:
        return Termination(Result.INDETERMINATE, Reason.OPERATOR_ENDED)
    return Termination(Result.SERVER_ERROR, Reason.MEDIA_FAILED)
