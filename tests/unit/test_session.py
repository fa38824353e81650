"""One call on a worker, from job to end, in made-up time: real pipeline, real machines, no network."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from trunkline.agent.brains.brain import Answer, Brain
from trunkline.agent.brains.brain import Call as Talk
from trunkline.agent.brains.echo import EchoBrain
from trunkline.agent.conversation import Conversation, ConversationParts
from trunkline.agent.session import Job, Session, SessionTools
from trunkline.core import wire
from trunkline.core.endpointing import EndpointingParams
from trunkline.core.errors import (
    Reason,
    Result,
    SetupError,
    Termination,
    UpstreamRejectedError,
    UpstreamTimeoutError,
)
from trunkline.core.turn_events import ReplyPolicy, TurnParams
from trunkline.core.units import SAMPLE_RATE_HZ, Pcm, level_dbfs
from trunkline.core.wire import Mark, TurnOutcome
from trunkline.media.engine import CallerFrame, Disconnected, ParticipantJoined, ParticipantKind, ParticipantLeft
from trunkline.settings import FAILURE_SENTENCE
from trunkline.testing.media import FakeEngine
from trunkline.testing.speech import LoudnessActivity, ToldStt, ToneTts, silence, tone
from trunkline.testing.virtual_time import in_virtual_time

pytestmark = pytest.mark.unit

JOB = Job(call="CA1", room="room-CA1", url="ws://sfu", identity="agent-CA1-x")


@dataclass
class FakeOrchestrator:
    """Remembers what it was told; refuses what it is told to refuse."""

    admitted: bool = False
    refuse_lease: bool = False
    refuse_token: bool = False
    fail_end: int = 0
    fail_transfer: bool = False
    transfer_s: float = 0.0
    kind: wire.CallKind = wire.CallKind.PHONE
    participant: str = ""
    reply_on: str = ""
    said: list[str] = field(default_factory=list)

    async def lease(self, call: str, room: str) -> wire.Lease:
        self.said.append("lease")
        if self.refuse_lease:
            raise SetupError("no lease", Termination(Result.SERVER_ERROR, Reason.LEASE_LOST))
        return wire.Lease(
            call=call,
            room=room,
            kind=self.kind,
            fence=7,
            admitted=self.admitted,
            participant=self.participant,
            reply_on=self.reply_on,
        )

    async def admit(self, call: str, fence: int, participant: str, token: str) -> None:
        self.said.append(f"admit {participant} {token} {fence}")
        if self.refuse_token:
            raise SetupError("refused", Termination(Result.CALLER_ERROR, Reason.REFUSED_TOKEN))

    async def answered(self, call: str, fence: int) -> None:
        self.said.append("answered")

    async def transfer(self, call: str, fence: int, number: str) -> None:
        self.said.append(f"transfer {number} {fence}")
        await asyncio.sleep(self.transfer_s)
        if self.fail_transfer:
            raise UpstreamRejectedError("orchestrator", "transfer_refused")

    async def end(self, call: str, fence: int, termination: Termination) -> None:
        if self.fail_end:
            self.fail_end -= 1
            raise UpstreamTimeoutError("orchestrator", "no answer")
        self.said.append(f"end {termination.reason} {fence}")


@dataclass
class Records:
    """Keeps what would go to the collector."""

    turns: list[wire.TurnRecord] = field(default_factory=list)
    calls: list[wire.CallRecord] = field(default_factory=list)

    def send(self, record: Any) -> None:
        (self.turns if isinstance(record, wire.TurnRecord) else self.calls).append(record)


@dataclass
class Call:
    """A session and everything around it."""

    engine: FakeEngine
    orchestrator: FakeOrchestrator
    records: Records
    session: Session
    task: asyncio.Task[Termination]

    async def answered(self) -> None:
        while not self.engine.legs or not self.engine.legs[-1].published:
            await asyncio.sleep(0.01)

    async def hear(self, *pieces: Pcm) -> None:
        await self.engine.legs[-1].hear(np.concatenate(pieces))

    async def hang_up(self) -> Termination:
        self.engine.phone_leaves()
        return await asyncio.wait_for(self.task, 5)


def start(
    sentences: list[str] | None = None,
    orchestrator: FakeOrchestrator | None = None,
    engine: FakeEngine | None = None,
    tts: Callable[[], ToneTts] = ToneTts,
    brain: Callable[[], Brain] = EchoBrain,
    turns: TurnParams | None = None,
    partial_s: float = 0.0,
    activity: Callable[[], LoudnessActivity] = LoudnessActivity,
    early: bool = False,
) -> Call:
    """Starts a session; the phone has not joined yet."""
    engine, orchestrator, records = engine or FakeEngine(), orchestrator or FakeOrchestrator(), Records()
    tools = SessionTools(
        worker="w1",
        host="here",
        engine=engine,
        orchestrator=orchestrator,  # type: ignore[arg-type]
        marks=records,  # type: ignore[arg-type]
        make_parts=lambda: ConversationParts(
            activity=activity(),  # type: ignore[arg-type]
            stt=ToldStt(sentences or [], partial_s=partial_s),
            tts=tts(),
            brain=brain(),
            turns=turns or TurnParams(),
            endpointing=EndpointingParams(ask_ahead_s=0.12 if early else 0.0),
            early=early,
        ),
        policy="final",
        sign_token=lambda job: f"token for {job.identity} in {job.room}",
    )
    session = Session(JOB, tools, now=asyncio.get_running_loop().time)
    return Call(engine, orchestrator, records, session, asyncio.create_task(session.run()))


async def start_answered(**options: Any) -> Call:
    call = start(**options)
    while not call.engine.legs:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    call.engine.phone_joins(token="tok")
    await call.answered()
    return call


@in_virtual_time
async def test_a_call_is_admitted_before_the_track_is_published_and_released_once_after_hang_up() -> None:
    call = await start_answered()
    assert call.orchestrator.said[:2] == ["lease", "admit sip_caller tok 7"]
    await asyncio.sleep(0.05)
    assert await call.hang_up() == Termination(Result.SUCCESS, Reason.CALLER_HUNG_UP)
    assert call.orchestrator.said == ["lease", "admit sip_caller tok 7", "answered", "end caller_hung_up 7"]
    assert call.engine.legs[0].left
    [record] = call.records.calls
    assert (record.result, record.reason, record.answered_us is not None) == ("success", "caller_hung_up", True)


@in_virtual_time
async def test_a_caller_with_a_room_token_of_ours_needs_no_admission() -> None:
    door = FakeOrchestrator(kind=wire.CallKind.WEBRTC, participant="sip_caller")
    call = await start_answered(orchestrator=door)
    await asyncio.sleep(0.05)
    assert await call.hang_up() == Termination(Result.SUCCESS, Reason.CALLER_HUNG_UP)
    assert door.said == ["lease", "answered", "end caller_hung_up 7"]


@in_virtual_time
async def test_a_phone_call_is_asked_for_even_where_its_participant_is_known() -> None:
    call = await start_answered(orchestrator=FakeOrchestrator(participant="sip_caller"))
    assert call.orchestrator.said[:2] == ["lease", "admit sip_caller tok 7"]
    await call.hang_up()


@in_virtual_time
async def test_a_sentence_is_answered_and_recorded_with_its_marks() -> None:
    call = await start_answered(sentences=["hello there"])
    await call.hear(silence(0.2), tone(0.6), silence(2.0))
    await call.hang_up()
    [turn] = call.records.turns
    assert (turn.understood, turn.answer) == ("hello there", "You said: hello there. Nice!")
    assert turn.outcome is TurnOutcome.ANSWERED
    assert turn.heard_samples == SAMPLE_RATE_HZ
    order = [turn.marks_us[mark] for mark in (Mark.SPEECH_START, Mark.SPEECH_END, Mark.STT_FINAL, Mark.AGENT_DECISION)]
    order += [turn.marks_us[mark] for mark in (Mark.TTS_FIRST_BYTE, Mark.PLAYBACK_START, Mark.PLAYBACK_STOP)]
    assert order == sorted(order)
    assert abs(turn.marks_us[Mark.SPEECH_END] - turn.marks_us[Mark.SPEECH_START] - 600_000) < 60_000
    assert level_dbfs(call.engine.legs[0].sound()) > -30


@in_virtual_time
async def test_an_interruption_silences_the_answer_and_is_answered_itself() -> None:
    call = await start_answered(sentences=["first", "second"], tts=lambda: ToneTts(length_s=4.0))
    await call.hear(tone(0.6), silence(1.2), tone(0.8), silence(0.1))
    sent = call.engine.legs[0].sound()
    assert level_dbfs(sent[-6_400:]) < -60
    await call.hear(silence(5.0))
    await call.hang_up()
    first, second = call.records.turns
    assert (first.outcome, second.outcome) == (TurnOutcome.INTERRUPTED, TurnOutcome.ANSWERED)
    assert Mark.BARGE_IN in first.marks_us
    assert 0 < first.heard_samples < 2 * SAMPLE_RATE_HZ
    assert call.engine.legs[0].calls == ["pause", "flush"]
    assert call.records.calls[0].barge_ins == 1


@in_virtual_time
async def test_a_cough_pauses_the_answer_and_takes_it_up_again_whole() -> None:
    call = await start_answered(sentences=["first", ""], tts=lambda: ToneTts(length_s=2.0))
    await call.hear(tone(0.6), silence(1.0), tone(0.1), silence(4.0))
    await call.hang_up()
    assert call.engine.legs[0].calls == ["pause", "resume"]
    [turn] = call.records.turns
    assert (turn.outcome, turn.heard_samples) == (TurnOutcome.ANSWERED, 2 * SAMPLE_RATE_HZ)


@in_virtual_time
async def test_a_call_may_have_a_policy_of_its_own_and_an_unknown_one_is_none() -> None:
    for reply_on, policy in (("first_partial", "first_partial"), ("whenever", "final")):
        call = await start_answered(
            sentences=["hello"], partial_s=0.15, orchestrator=FakeOrchestrator(reply_on=reply_on)
        )
        await call.hear(tone(1.5), silence(2.5))
        await call.hang_up()
        [turn] = call.records.turns
        assert turn.policy == policy
        early = turn.marks_us[Mark.PLAYBACK_START] < turn.marks_us[Mark.SPEECH_END]
        assert early == (policy == "first_partial")


@in_virtual_time
async def test_first_partial_answers_while_the_caller_still_speaks() -> None:
    call = await start_answered(sentences=["hello"], partial_s=0.15, turns=TurnParams(policy=ReplyPolicy.FIRST_PARTIAL))
    await call.hear(tone(1.5), silence(1.5))
    await call.hang_up()
    [turn] = call.records.turns
    assert turn.outcome is TurnOutcome.ANSWERED
    assert turn.marks_us[Mark.PLAYBACK_START] < turn.marks_us[Mark.SPEECH_END]
    assert call.engine.legs[0].calls == []


@in_virtual_time
async def test_a_refused_token_never_publishes_and_ends_as_refused() -> None:
    call = start(orchestrator=FakeOrchestrator(refuse_token=True))
    await asyncio.sleep(0.5)
    call.engine.phone_joins(token="forged")
    assert await asyncio.wait_for(call.task, 5) == Termination(Result.CALLER_ERROR, Reason.REFUSED_TOKEN)
    assert not call.engine.legs[0].published
    assert call.engine.legs[0].left


@in_virtual_time
async def test_a_take_over_asks_no_token_again() -> None:
    call = await start_answered(orchestrator=FakeOrchestrator(admitted=True))
    await call.hang_up()
    assert not [word for word in call.orchestrator.said if word.startswith("admit")]


@in_virtual_time
async def test_no_lease_no_room() -> None:
    call = start(orchestrator=FakeOrchestrator(refuse_lease=True))
    assert (await asyncio.wait_for(call.task, 5)).reason is Reason.LEASE_LOST
    assert call.engine.legs == []
    assert call.orchestrator.said == ["lease"]


@in_virtual_time
async def test_a_room_that_can_not_be_joined_ends_the_call_with_the_reason() -> None:
    call = start(engine=FakeEngine(refuse="no answer within 5 s"))
    assert await asyncio.wait_for(call.task, 5) == Termination(Result.SERVER_ERROR, Reason.MEDIA_FAILED)
    assert call.orchestrator.said == ["lease", "end media_failed 7"]


@in_virtual_time
async def test_a_lost_lease_leaves_without_a_word() -> None:
    call = await start_answered()
    call.session.end(Termination(Result.SERVER_ERROR, Reason.LEASE_LOST))
    await asyncio.wait_for(call.task, 5)
    assert not [word for word in call.orchestrator.said if word.startswith("end")]
    assert call.engine.legs[0].left


@in_virtual_time
async def test_the_end_is_told_again_when_the_orchestrator_did_not_hear_it() -> None:
    call = await start_answered(orchestrator=FakeOrchestrator(fail_end=2))
    await call.hang_up()
    assert call.orchestrator.said[-1] == "end caller_hung_up 7"


@in_virtual_time
async def test_a_room_deleted_by_the_server_ends_the_call() -> None:
    call = await start_answered()
    call.engine.legs[0].listener.on_event(Disconnected("room_deleted", by_server=True))
    assert (await asyncio.wait_for(call.task, 5)).reason is Reason.OPERATOR_ENDED


class BrokenBrain(Brain):
    """Raises instead of answering."""

    async def reply(self, call: Talk, words: str) -> Answer:
        raise RuntimeError("no idea")
        yield ""


@in_virtual_time
async def test_a_brain_that_raises_is_stood_in_for_by_the_set_sentence() -> None:
    call = await start_answered(sentences=["one", "two"], brain=BrokenBrain)
    await call.hear(tone(0.5), silence(1.8), tone(0.5), silence(1.8))
    await call.hang_up()
    assert [(turn.outcome, turn.answer) for turn in call.records.turns] == [
        (TurnOutcome.ANSWERED, FAILURE_SENTENCE)
    ] * 2


@in_virtual_time
async def test_a_voice_that_fails_is_one_turn_unanswered_and_the_call_goes_on() -> None:
    call = await start_answered(sentences=["one", "two"], tts=lambda: ToneTts(fails=True))
    await call.hear(tone(0.5), silence(0.8), tone(0.5), silence(0.8))
    assert not call.task.done()
    await call.hang_up()
    assert [turn.outcome for turn in call.records.turns] == [TurnOutcome.UNANSWERED] * 2


@in_virtual_time
async def test_a_call_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    call = await start_answered(sentences=["hello"], tts=lambda: ToneTts(length_s=3.0))
    await call.hear(tone(0.5), silence(0.9))
    await call.hang_up()
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() - before == set()


@in_virtual_time
async def test_a_call_that_ends_while_the_pipeline_starts_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    call = start()
    await asyncio.sleep(0.01)
    call.session.end(Termination(Result.SERVER_ERROR, Reason.DRAINED))
    assert (await call.task).reason is Reason.DRAINED
    assert call.orchestrator.said == ["lease", "end drained 7"]
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() - before == set()


@in_virtual_time
async def test_a_caller_that_hangs_up_in_mid_sentence_and_one_in_mid_answer_have_their_turn_recorded() -> None:
    speaking = await start_answered()
    await speaking.hear(silence(0.2), tone(0.6))
    await speaking.hang_up()
    assert [turn.outcome for turn in speaking.records.turns] == [TurnOutcome.UNANSWERED]
    listening = await start_answered(sentences=["hello"], tts=lambda: ToneTts(length_s=4.0))
    await listening.hear(silence(0.2), tone(0.6), silence(1.5))
    await listening.hang_up()
    assert [turn.outcome for turn in listening.records.turns] == [TurnOutcome.INTERRUPTED]
    for call in (speaking, listening):
        assert call.records.calls[0].turns == 1


class StubbornBrain(Brain):
    """Does not stop when it is told to."""

    async def reply(self, call: Talk, words: str) -> Answer:
        deadline = asyncio.get_running_loop().time() + 60.0
        while (left_s := deadline - asyncio.get_running_loop().time()) > 0:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(left_s)
        yield ""


@in_virtual_time
async def test_a_brain_that_does_not_stop_holds_up_no_release() -> None:
    call = await start_answered(sentences=["hello"], brain=StubbornBrain)
    await call.hear(tone(0.5), silence(0.9))
    await call.hang_up()
    assert call.engine.legs[0].left
    assert call.orchestrator.said[-1] == "end caller_hung_up 7"
    await asyncio.sleep(60.0)


@pytest.mark.parametrize("error", [RuntimeError("stuck"), asyncio.CancelledError(), None], ids=repr)
@in_virtual_time
async def test_a_step_of_the_release_that_fails_or_hangs_keeps_no_later_one_from_its_turn(
    error: BaseException | None,
) -> None:
    call = await start_answered()

    async def leave() -> None:
        if error is not None:
            raise error
        await asyncio.sleep(3_600)

    leg = call.engine.legs[0]
    give_back, leg.leave = leg.leave, leave  # type: ignore[method-assign]
    call.engine.phone_leaves()
    assert (await asyncio.wait_for(call.task, 30)).reason is Reason.CALLER_HUNG_UP
    assert call.orchestrator.said[-1] == "end caller_hung_up 7"
    assert len(call.records.calls) == 1
    await give_back()


@in_virtual_time
async def test_a_session_that_is_cancelled_releases_everything_first_even_if_cancelled_twice() -> None:
    call = await start_answered(orchestrator=FakeOrchestrator(fail_end=1))
    call.task.cancel()
    await asyncio.sleep(0.1)
    call.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.task
    assert call.engine.legs[0].left
    assert call.orchestrator.said[-1] == "end unknown 7"
    assert len(call.records.calls) == 1


@in_virtual_time
async def test_what_breaks_in_the_engine_s_callback_ends_this_call_and_does_not_reach_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(conversation: Conversation, frame: CallerFrame) -> None:
        raise RuntimeError("broken")

    call = await start_answered()
    monkeypatch.setattr(Conversation, "on_frame", broken)
    call.engine.legs[0].listener.on_frame(CallerFrame(0.0, silence(0.02)))
    assert (await asyncio.wait_for(call.task, 30)).reason is Reason.AGENT_FAILED
    assert call.engine.legs[0].left


@in_virtual_time
async def test_a_refused_caller_that_is_removed_from_the_room_first_still_ends_as_refused() -> None:
    orchestrator = FakeOrchestrator(refuse_token=True)
    call = start(orchestrator=orchestrator)
    await asyncio.sleep(0.5)
    call.engine.phone_joins(token="forged")
    call.engine.phone_leaves()
    assert (await asyncio.wait_for(call.task, 5)).reason is Reason.REFUSED_TOKEN


@in_virtual_time
async def test_the_engine_can_have_a_new_token_for_the_same_room_and_identity() -> None:
    call = await start_answered()
    renew = call.engine.legs[-1].renew
    assert renew is not None
    assert renew() == "token for agent-CA1-x in room-CA1"
    await call.hang_up()


@in_virtual_time
async def test_in_a_shared_room_a_session_takes_only_its_own_caller() -> None:
    call = start(orchestrator=FakeOrchestrator(kind=wire.CallKind.WEBRTC, participant="bob"))
    while not call.engine.legs:
        await asyncio.sleep(0.01)
    listener = call.engine.legs[-1].listener
    for identity in ("ann", "bob", "cid"):
        listener.on_event(ParticipantJoined(identity, ParticipantKind.WEBRTC, {}))
    await call.answered()
    assert call.engine.legs[-1].listening_to == "bob"
    listener.on_event(ParticipantLeft("ann"))
    await asyncio.sleep(1.0)
    assert not call.task.done()
    call.engine.phone_leaves("bob")
    assert (await asyncio.wait_for(call.task, 5)).reason is Reason.CALLER_HUNG_UP
