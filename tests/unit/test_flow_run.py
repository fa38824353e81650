"""A flow is followed step by step, without I/O."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trunkline.agent.brains.brain import HangUp, Listen, SendDtmf, Transfer
from trunkline.agent.brains.flow_file import load_flow
from trunkline.agent.brains.flow_run import FlowError, FlowRun, Speak, Thing, Things
from trunkline.agent.brains.http_call import HttpAnswer, HttpRequest

pytestmark = pytest.mark.unit

EXAMPLES = Path(__file__).parents[2] / "examples"
MONDAY_NOON = {"caller": "+1555", "date": "2026-11-23", "weekday": "monday", "hour": "12", "time": "12:00"}


def running(folder: Path, blocks: str, top: str = "", built_in: dict[str, str] | None = None) -> FlowRun:
    path = folder / "f.yaml"
    path.write_text(f"{top}\nblocks:\n{blocks}")
    return FlowRun(load_flow(path), lambda: built_in or MONDAY_NOON)


def example(name: str, **built_in: str) -> FlowRun:
    return FlowRun(load_flow(EXAMPLES / name), lambda: MONDAY_NOON | built_in)


def all_of(things: Things, *answers: HttpAnswer) -> list[Thing]:
    """What a flow does, with the answers that its requests get."""
    found: list[Thing] = []
    waiting = list(answers)
    answer: HttpAnswer | None = None
    while True:
        try:
            thing = things.send(answer)
        except StopIteration:
            return found
        found.append(thing)
        answer = waiting.pop(0) if isinstance(thing, HttpRequest) else None


def said(things: list[Thing]) -> list[str]:
    return [thing.text for thing in things if isinstance(thing, Speak)]


@pytest.mark.parametrize(
    ("built_in", "told"),
    [
        ({}, "Yes, we are open now, until six in the evening."),
        ({"hour": "18"}, "We are closed at the moment. We open at seven in the morning, Monday to Saturday."),
        ({"weekday": "sunday"}, "On Sundays we are closed. We open on Monday at seven in the morning."),
    ],
)
def test_the_opening_hours_depend_on_day_and_hour(built_in: dict[str, str], told: str) -> None:
    run = example("opening_hours.yaml", **built_in)
    began = all_of(run.begin())
    assert said(began)[0] == "Welcome to the bakery."
    assert began[-1] == Listen(max_keys=1, silence_s=6.0, key_gap_s=3.0)
    by_words = all_of(run.words("Please, are you OPEN today?"))
    assert said(by_words)[0] == told
    assert all_of(run.keys("1")) == by_words


def test_the_order_is_looked_up_with_what_was_typed() -> None:
    run = example("order_status.yaml")
    all_of(run.begin())
    found = {"order": {"status": "Shipped", "delivery": {"day": "Friday"}}}
    things = all_of(run.keys("1234"), HttpAnswer(200, found))
    [request] = [thing for thing in things if isinstance(thing, HttpRequest)]
    assert (request.method, request.url) == ("GET", "http://localhost:8099/orders/1234")
    assert request.headers == {"X-Caller": "+1555"}
    assert "Your order was shipped. It will be with you on Friday." in said(things)


@pytest.mark.parametrize(
    "answer",
    [
        HttpAnswer(0, None, "no answer within 3 s"),
        HttpAnswer(404, {"order": {}}, "status 404"),
        HttpAnswer(200, {"order": {"status": "shipped"}}),
        HttpAnswer(200, {"order": {"status": "shipped", "delivery": {"day": None}}}),
        HttpAnswer(200, {"order": {"status": ["shipped"], "delivery": {"day": "x"}}}),
        HttpAnswer(200, "hello"),
    ],
    ids=["time-out", "404", "no day", "null", "a list", "text"],
)
def test_an_answer_of_no_use_takes_the_error_branch_and_sets_nothing(answer: HttpAnswer) -> None:
    run = example("order_status.yaml")
    all_of(run.begin())
    things = all_of(run.keys("1234"), answer)
    assert "I could not find the order 1234." in said(things)
    assert run.variables["status"] == "unknown"


def test_the_caller_may_fail_three_times() -> None:
    run = example("opening_hours.yaml")
    all_of(run.begin())
    assert said(all_of(run.words("blue"))) == ["Sorry, I did not understand that. Say opening hours, or press one."]
    again = all_of(run.silence())
    assert said(again) == ["Are you still there? Say opening hours, or press one."]
    assert isinstance(again[-1], Listen)
    assert all_of(run.words("")) == [Speak("One moment, please."), Transfer("+15550100")]
    assert all_of(run.transfer_failed())[-1] == HangUp()


def test_a_success_forgives_earlier_failures() -> None:
    run = example("opening_hours.yaml")
    all_of(run.begin())
    for _ in range(3):
        all_of(run.words("blue"))
        all_of(run.silence())
        assert "One moment, please." not in said(all_of(run.words("opening hours")))


def test_too_few_keys_are_not_understood() -> None:
    run = example("order_status.yaml")
    all_of(run.begin())
    assert said(all_of(run.keys("12"))) == ["That is no order number. It has four to eight digits."]
    assert said(all_of(run.keys("0"))) == ["One moment, please."]


def test_the_longest_phrase_that_was_said_wins_and_only_whole_words_count(tmp_path: Path) -> None:
    run = running(
        tmp_path,
        """
  a:
    - listen:
        choices: [{words: bill, goto: b}, {words: pay the bill, goto: c}, {words: [art], goto: d}]
        give_up: d
  b: [{say: b}, hangup]
  c: [{say: c}, hangup]
  d: [{say: d}, hangup]
""",
    )
    for words, block in (("the bill", "b"), ("I want to PAY the bill!", "c"), ("start", None)):
        all_of(run.begin())
        assert said(all_of(run.words(words))) == ([block] if block else [])


def test_what_was_chosen_or_said_is_kept_in_variables(tmp_path: Path) -> None:
    run = running(
        tmp_path,
        """
  a:
    - listen: {choices: [{words: [red, crimson], name: red}], save: colour, words_into: words, give_up: a}
    - say: "{colour}, {words}, {caller}"
    - goto: a
""",
        "variables: {colour: none, words: none}",
    )
    all_of(run.begin())
    assert said(all_of(run.words("crimson"))) == ["red, none, +1555"]
    assert said(all_of(run.words("deep {colour}"))) == ["red, deep {colour}, +1555"]
    assert said(all_of(run.begin())) == []
    assert run.variables == {"colour": "none", "words": "none"}


def test_values_can_not_leave_their_place_in_a_url_or_a_header(tmp_path: Path) -> None:
    run = running(
        tmp_path,
        """
  a:
    - listen: {words_into: city, give_up: a}
    - http: {url: "http://h/x/{city}?q={city}", headers: {X: "{city}"}, json: {c: ["{city}", 2]}, on_error: a}
    - goto: a
""",
        "allow: [h]",
    )
    all_of(run.begin())
    [request, *_] = all_of(run.words("../a?b=c&d\r\nEvil: 1"), HttpAnswer(200))
    value = "../a?b=c&d Evil: 1"
    quoted = "..%2Fa%3Fb%3Dc%26d%20Evil%3A%201"
    assert request == HttpRequest("GET", f"http://h/x/{quoted}?q={quoted}", {"X": value}, {"c": [value, 2]}, 3.0)


def test_sets_and_keys_in_order(tmp_path: Path) -> None:
    run = running(tmp_path, '  a: [{set: {x: "1", y: "{x}2"}}, {send_keys: "12"}, {say: "{y}"}, hangup]\n')
    assert all_of(run.begin()) == [SendDtmf("12"), Speak("12"), HangUp()]


def test_a_flow_that_goes_round_in_circles_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(FlowError, match="200 steps without listening"):
        all_of(running(tmp_path, "  a: [{goto: b}]\n  b: [{goto: a}]\n").begin())


def test_an_end_key_that_is_a_choice_too_is_a_choice(tmp_path: Path) -> None:
    listen = '{keys: {most: 4, into: n}, choices: [{keys: "#", goto: a}], give_up: a}'
    run = running(tmp_path, f"  a: [{{listen: {listen}}}, {{goto: a}}]\n")
    [thing] = all_of(run.begin())
    assert isinstance(thing, Listen)
    assert thing.end_key == ""


def test_whatever_comes_before_the_flow_has_listened_begins_it(tmp_path: Path) -> None:
    run: Any = running(tmp_path, "  a: [{say: hello}, hangup]\n")
    for things in (run.words("x"), run.keys("1")):
        assert said(all_of(things)) == ["hello"]
    assert all_of(run.silence()) == []
    assert all_of(run.transfer_failed()) == [HangUp()]
