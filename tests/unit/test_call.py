"""What happens to a call on the agent's side, state by state, in made-up time."""

from __future__ import annotations

import copy
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.call import (
    TIMED_OUT,
    TRANSITIONS,
    AskAdmission,
    CallEffect,
    CallerAdmitted,
    CallerJoined,
    CallerLeft,
    CallEvent,
    CallMachine,
    CallState,
    CallTimes,
    EndCall,
    Failed,
    JoinRoom,
    LeaseGranted,
    PublishTrack,
    RoomJoined,
    StartConversation,
    TrackHeard,
)
from trunkline.core.errors import LocalProtocolError, Reason, Result, Termination

pytestmark = pytest.mark.unit

CALLER = CallerJoined("sip_1", "token")
REFUSED = Termination(Result.CALLER_ERROR, Reason.REFUSED_TOKEN)
ABANDONED = Termination(Result.CALLER_ERROR, Reason.CALLER_ABANDONED)
HUNG_UP = Termination(Result.SUCCESS, Reason.CALLER_HUNG_UP)

EVENTS: dict[type[CallEvent], CallEvent] = {
    LeaseGranted: LeaseGranted(admitted=False),
    RoomJoined: RoomJoined(),
    CallerJoined: CALLER,
    CallerAdmitted: CallerAdmitted(),
    TrackHeard: TrackHeard(),
    CallerLeft: CallerLeft("sip_1"),
    Failed: Failed(REFUSED),
}

WAY: dict[CallState, list[CallEvent]] = {
    CallState.LEASING: [],
    CallState.JOINING: [LeaseGranted(admitted=False)],
    CallState.WAITING: [LeaseGranted(admitted=False), RoomJoined()],
    CallState.ADMITTING: [LeaseGranted(admitted=False), RoomJoined(), CALLER],
    CallState.PUBLISHING: [LeaseGranted(admitted=False), RoomJoined(), CALLER, CallerAdmitted()],
    CallState.BRIDGED: [LeaseGranted(admitted=False), RoomJoined(), CALLER, CallerAdmitted(), TrackHeard()],
    CallState.ENDED: [Failed(REFUSED)],
}
"""How a call comes into each state."""


def machine_in(state: CallState, now: float = 10.0) -> CallMachine:
    machine = CallMachine(now)
    for event in WAY[state]:
        machine.handle(event, now)
    assert machine.state is state
    return machine


def run(*events: CallEvent, now: float = 10.0) -> tuple[CallMachine, list[CallEffect]]:
    """All effects of these events, in order."""
    machine = CallMachine(now)
    return machine, [effect for event in events for effect in machine.handle(event, now)]


PAIRS = [(state, kind) for state in CallState for kind in get_args(CallEvent)]


def test_every_event_is_tried() -> None:
    assert set(EVENTS) == set(get_args(CallEvent))


@pytest.mark.parametrize(("state", "kind"), PAIRS, ids=[f"{s.value}-{k.__name__}" for s, k in PAIRS])
def test_each_pair_of_state_and_event_is_taken_or_refused_without_a_trace(
    state: CallState, kind: type[CallEvent]
) -> None:
    machine = machine_in(state)
    before = copy.deepcopy(vars(machine))
    if (state, kind) in TRANSITIONS:
        machine.handle(EVENTS[kind], 11.0)
        return
    with pytest.raises(LocalProtocolError, match=state.value):
        machine.handle(EVENTS[kind], 11.0)
    assert vars(machine) == before


def test_a_call_goes_all_the_way() -> None:
    machine, effects = run(*WAY[CallState.BRIDGED], CallerLeft("sip_1"))
    assert effects == [
        JoinRoom(),
        AskAdmission("sip_1", "token"),
        PublishTrack("sip_1"),
        StartConversation(),
        EndCall(HUNG_UP),
    ]
    assert machine.termination == HUNG_UP


def test_a_call_that_was_admitted_by_an_earlier_worker_is_not_asked_again() -> None:
    _, effects = run(LeaseGranted(admitted=True), RoomJoined(), CALLER)
    assert effects == [JoinRoom(), PublishTrack("sip_1")]


def test_nobody_is_asked_for_a_caller_whom_our_room_token_proves_and_for_anybody_else_somebody_is() -> None:
    proven = LeaseGranted(admitted=False, expected="sip_1")
    assert run(proven, RoomJoined(), CALLER)[1] == [JoinRoom(), PublishTrack("sip_1")]
    other = CallerJoined("somebody", "")
    assert run(proven, RoomJoined(), other)[1] == [JoinRoom(), AskAdmission("somebody", "")]
    nameless = CallerJoined("", "")
    assert run(LeaseGranted(admitted=False), RoomJoined(), nameless)[1] == [JoinRoom(), AskAdmission("", "")]


def test_a_caller_that_was_there_first_is_taken_once_the_room_is_joined() -> None:
    _, effects = run(LeaseGranted(admitted=False), CALLER, RoomJoined())
    assert effects == [JoinRoom(), AskAdmission("sip_1", "token")]


def test_a_caller_that_leaves_while_we_join_is_not_taken() -> None:
    machine, effects = run(LeaseGranted(admitted=False), CALLER, CallerLeft("sip_1"), RoomJoined())
    assert (effects, machine.state) == ([JoinRoom()], CallState.WAITING)


@pytest.mark.parametrize("state", list(TIMED_OUT), ids=lambda state: state.value)
def test_each_state_with_a_limit_ends_the_call_with_its_own_reason(state: CallState) -> None:
    machine = machine_in(state)
    deadline = machine.deadline()
    assert deadline is not None
    assert (deadline.at, deadline.reason) == (10.0 + getattr(CallTimes(), f"{state.value}_s"), state.value)
    assert machine.on_deadline(deadline.at) == [EndCall(TIMED_OUT[state])]
    assert (machine.state, machine.deadline(), machine.on_deadline(99.0)) == (CallState.ENDED, None, [])


@pytest.mark.parametrize("state", [CallState.BRIDGED, CallState.ENDED])
def test_a_conversation_has_no_time_limit(state: CallState) -> None:
    assert machine_in(state).deadline() is None


@pytest.mark.parametrize("state", [state for state in CallState if state is not CallState.ENDED])
def test_a_failure_ends_the_call_in_any_state_with_its_own_reason(state: CallState) -> None:
    machine = machine_in(state)
    assert machine.handle(EVENTS[Failed], 11.0) == [EndCall(REFUSED)]
    assert machine.handle(Failed(HUNG_UP), 12.0) == []
    assert machine.termination == REFUSED


def test_a_caller_that_leaves_before_the_phone_is_answered_has_abandoned_the_call() -> None:
    assert machine_in(CallState.PUBLISHING).handle(CallerLeft("sip_1"), 11.0) == [EndCall(ABANDONED)]


@pytest.mark.parametrize("state", [CallState.WAITING, CallState.ADMITTING, CallState.PUBLISHING, CallState.BRIDGED])
def test_others_that_leave_are_nobody_s_caller(state: CallState) -> None:
    machine = machine_in(state)
    assert machine.handle(CallerLeft("somebody"), 11.0) == []
    assert machine.state is state


def test_a_second_participant_is_not_taken_for_the_caller() -> None:
    machine = machine_in(CallState.ADMITTING)
    assert machine.handle(CallerJoined("sip_2", "other"), 11.0) == []
    assert machine.handle(CallerAdmitted(), 11.0) == [PublishTrack("sip_1")]


def test_a_refused_caller_that_is_removed_before_we_are_told_ends_as_refused() -> None:
    machine = machine_in(CallState.ADMITTING)
    assert machine.handle(CallerLeft("sip_1"), 10.1) == []
    assert machine.handle(Failed(REFUSED), 10.2) == [EndCall(REFUSED)]


def test_a_caller_that_leaves_and_is_admitted_after_all_has_abandoned_the_call() -> None:
    machine = machine_in(CallState.ADMITTING)
    machine.handle(CallerLeft("sip_1"), 10.1)
    assert machine.handle(CallerAdmitted(), 10.2) == [EndCall(ABANDONED)]


def test_a_caller_that_leaves_during_an_admission_without_answer_has_abandoned_the_call_in_the_same_time() -> None:
    machine = machine_in(CallState.ADMITTING)
    deadline = machine.deadline()
    machine.handle(CallerLeft("sip_1"), 10.1)
    assert machine.deadline() == deadline
    assert deadline is not None
    assert machine.on_deadline(deadline.at) == [EndCall(ABANDONED)]


@given(
    st.lists(st.sampled_from([*EVENTS.values(), LeaseGranted(admitted=True), CallerLeft("other"), None]), max_size=30)
)
def test_whatever_comes_a_call_ends_once_and_never_publishes_without_admission(events: list[CallEvent | None]) -> None:
    """None stands for the deadline."""
    machine, now = CallMachine(0.0), 0.0
    effects: list[CallEffect] = []
    admitted = False
    for event in events:
        now += 0.1
        try:
            new = machine.on_deadline(now) if event is None else machine.handle(event, now)
        except LocalProtocolError:
            continue
        admitted = admitted or event in (LeaseGranted(admitted=True), CallerAdmitted())
        assert admitted or not any(isinstance(effect, PublishTrack) for effect in new)
        effects += new
    ends = [index for index, effect in enumerate(effects) if isinstance(effect, EndCall)]
    assert ends in ([], [len(effects) - 1])
    assert (machine.state is CallState.ENDED) == bool(ends)
    assert (machine.deadline() is None) == (machine.state in (CallState.BRIDGED, CallState.ENDED))
