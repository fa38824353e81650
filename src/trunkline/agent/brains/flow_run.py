"""Follows a flow for one caller: pure, so that it is tested without a call.

In come the caller's words and keys, and silence; out come things to do, one after the other. A request's answer is sent
into the generator:

    steps = run.words("order status")
    thing = next(steps)                      # Speak("Which number?")
    thing = steps.send(None)                 # HttpRequest(…)
    thing = steps.send(HttpAnswer(200, {…}))
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

from trunkline.agent.brains.brain import HangUp, Listen, SendDtmf, Transfer
from trunkline.agent.brains.flow import (
    Body,
    Branch,
    Choice,
    Flow,
    Goto,
    HangUpStep,
    Http,
    ListenStep,
    Say,
    SendKeys,
    Set,
    Step,
    TransferStep,
)
from trunkline.agent.brains.flow_file import normal
from trunkline.agent.brains.http_call import HttpAnswer, HttpRequest, find
from trunkline.agent.brains.template import Template, clean

MAX_STEPS = 200
"""Between two times of listening; a flow that takes more goes round in circles."""


class FlowError(Exception):
    """A flow can't go on; says where."""


@dataclass(frozen=True, slots=True)
class Speak:
    """Say this."""

    text: str


Thing: TypeAlias = Speak | HttpRequest | Listen | Transfer | HangUp | SendDtmf
Things: TypeAlias = Generator[Thing, HttpAnswer | None, None]


class FlowRun:
    """One caller's way through a flow.

    Args:
        flow: The flow.
        built_in: The values of the variables that are always there, at this moment.
    """

    def __init__(self, flow: Flow, built_in: Callable[[], dict[str, str]]) -> None:
        self._flow = flow
        self._built_in = built_in
        self.variables = dict(flow.variables)
        self._listening: tuple[str, int] | None = None
        self._failed_tries = 0
        self._on_transfer_error = ""

    @property
    def listening(self) -> ListenStep | None:
        """Where the flow listens; None before it did for the first time."""
        if self._listening is None:
            return None
        block, index = self._listening
        step = self._flow.blocks[block][index]
        assert isinstance(step, ListenStep)
        return step

    def begin(self) -> Things:
        """From the start, with variables as they were at first."""
        self.variables = dict(self._flow.variables)
        self._listening = None
        yield from self._follow(self._flow.start, 0)

    def words(self, said: str) -> Things:
        """The caller said something; without words: nothing that was understood."""
        step = self.listening
        if step is None:
            yield from self.begin()
            return
        choice = _chosen(step, normal(said))
        if choice is not None:
            yield from self._choose(step, choice)
        elif step.words_into and said:
            self.variables[step.words_into] = clean(said)
            yield from self._go_on()
        else:
            yield from self._fail(step, step.no_match)

    def keys(self, pressed: str) -> Things:
        """The caller pressed keys."""
        step = self.listening
        if step is None:
            yield from self.begin()
            return
        for choice in step.choices:
            if choice.keys == pressed:
                yield from self._choose(step, choice)
                return
        if step.keys is not None and len(pressed) >= step.keys.least:
            self.variables[step.keys.into] = pressed
            yield from self._go_on()
            return
        yield from self._fail(step, step.no_match)

    def silence(self) -> Things:
        """The caller did nothing."""
        step = self.listening
        if step is not None:
            yield from self._fail(step, step.no_input)

    def transfer_failed(self) -> Things:
        """The caller could not be handed over."""
        if self._on_transfer_error:
            yield from self._follow(self._on_transfer_error, 0)
        else:
            yield HangUp()

    def _choose(self, step: ListenStep, choice: Choice) -> Things:
        if step.save:
            self.variables[step.save] = clean(choice.name)
        if choice.goto:
            yield from self._follow(choice.goto, 0)
        else:
            yield from self._go_on()

    def _go_on(self) -> Things:
        assert self._listening is not None
        block, index = self._listening
        yield from self._follow(block, index + 1)

    def _fail(self, step: ListenStep, sentence: Template | None) -> Things:
        assert self._listening is not None
        self._failed_tries += 1
        if self._failed_tries >= step.tries:
            yield from self._follow(step.give_up, 0)
            return
        if sentence is not None:
            yield Speak(sentence.fill(self._values()))
        yield _listen(step)

    def _follow(self, block: str, index: int) -> Things:
        for _ in range(MAX_STEPS):
            step = self._flow.blocks[block][index]
            index += 1
            match step:
                case ListenStep():
                    self._listening = (block, index - 1)
                    self._failed_tries = 0
                    yield _listen(step)
                    return
                case Goto(target):
                    block, index = target, 0
                case Branch():
                    block, index = self._case(step), 0
                case Http():
                    if not (yield from self._ask(step)):
                        block, index = step.on_error, 0
                case _:
                    yield from self._do(step)
                    if isinstance(step, TransferStep | HangUpStep):
                        return
        raise FlowError(f"block {block!r}: {MAX_STEPS} steps without listening")

    def _do(self, step: Step) -> Things:
        match step:
            case Say(text):
                yield Speak(text.fill(self._values()))
            case Set(values):
                for name, template in values:
                    self.variables[name] = clean(template.fill(self._values()))
            case SendKeys(digits):
                yield SendDtmf(digits)
            case TransferStep(number, on_error):
                self._on_transfer_error = on_error
                yield Transfer(number.fill(self._values()))
            case HangUpStep():
                yield HangUp()

    def _ask(self, step: Http) -> Generator[Thing, HttpAnswer | None, bool]:
        """Asks another system; False where its answer is of no use, which then sets no variable."""
        values = self._values()
        answer = yield HttpRequest(
            step.method,
            step.url.fill_url(values),
            {name: template.fill(values) for name, template in step.headers},
            fill_body(step.body, values),
            step.timeout_s,
        )
        if answer is None or answer.problem:
            return False
        try:
            found = {name: find(answer.body, path) for name, path in step.save}
        except LookupError:
            return False
        if any(isinstance(value, dict | list) for value in found.values()):
            return False
        self.variables |= {name: clean(value) for name, value in found.items()}
        return True

    def _case(self, step: Branch) -> str:
        value = self._values().get(step.variable, "")
        return next((case.goto for case in step.cases if case.takes(value)), step.default)

    def _values(self) -> dict[str, str]:
        return self.variables | self._built_in()


def fill_body(body: Body, values: dict[str, str]) -> Any:
    """A body with the variables' values."""
    match body:
        case Template():
            return body.fill(values)
        case dict():
            return {name: fill_body(each, values) for name, each in body.items()}
        case list():
            return [fill_body(each, values) for each in body]
    return body


def _listen(step: ListenStep) -> Listen:
    end_key = step.keys.end if step.keys is not None else ""
    if any(end_key and end_key in choice.keys for choice in step.choices):
        end_key = ""
    return Listen(step.max_keys, end_key, step.key_gap_s, step.keys_interrupt, step.silence_s)


def _chosen(step: ListenStep, said: str) -> Choice | None:
    """The choice of which the longest phrase was said, as whole words."""
    best: tuple[int, Choice] | None = None
    for choice in step.choices:
        for phrase in choice.phrases:
            if f" {phrase} " in f" {said} " and (best is None or len(phrase) > best[0]):
                best = (len(phrase), choice)
    return best[1] if best is not None else None
