"""A flow: what a script says, listens for and does. Data only: `flow_file` reads it, `flow_run` follows it.

A flow is named blocks of steps. Each block ends in a step that leads elsewhere, so that no flow runs out of steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from trunkline.agent.brains.template import Template

BUILT_IN = ("caller", "date", "weekday", "hour", "time")
"""Variables that are always there: the caller's number, and the day and time at which the flow looks at them."""


@dataclass(frozen=True, slots=True)
class Say:
    """Says a sentence."""

    text: Template


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing that the caller may choose.

    Args:
        name: What `save` keeps.
        phrases: Words, in lower case, of which one must be said.
        keys: Keys that choose it, too; empty for none.
        goto: Where it leads; empty: to the next step.
    """

    name: str
    phrases: tuple[str, ...]
    keys: str = ""
    goto: str = ""


@dataclass(frozen=True, slots=True)
class KeysWanted:
    """Keys that make up one value, such as a number.

    Args:
        most: So many at most.
        least: So many at least; fewer are as good as not understood.
        end: Ends them early; empty for none.
        into: The variable that keeps them.
    """

    most: int
    into: str
    least: int = 1
    end: str = "#"


@dataclass(frozen=True, slots=True)
class ListenStep:
    """Waits for the caller.

    Args:
        choices: What the caller may say or press.
        keys: A value to be typed, beside the choices' own keys.
        words_into: The variable that keeps whatever else is said; empty: that is not understood.
        save: The variable that keeps the name of what was chosen; empty for none.
        silence_s: After so many seconds without a word or key: `no_input`.
        key_gap_s: So long may the next key take.
        keys_interrupt: Keys cut short what is being said.
        no_input: Said into the silence; None: nothing.
        no_match: Said where nothing was understood; None: nothing.
        tries: How often the caller may fail at this step;
        give_up: and where that leads.
    """

    choices: tuple[Choice, ...] = ()
    keys: KeysWanted | None = None
    words_into: str = ""
    save: str = ""
    silence_s: float = 8.0
    key_gap_s: float = 3.0
    keys_interrupt: bool = True
    no_input: Template | None = None
    no_match: Template | None = None
    tries: int = 3
    give_up: str = ""

    @property
    def max_keys(self) -> int:
        """The most keys that belong together."""
        return max([len(each.keys) for each in self.choices] + [self.keys.most if self.keys is not None else 0])


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a branch: a text, or a range of numbers, both ends included."""

    goto: str
    text: str = ""
    least: float | None = None
    most: float | None = None

    def takes(self, value: str) -> bool:
        """True where this is the value's case."""
        if self.least is None or self.most is None:
            return value.strip().lower() == self.text
        try:
            return self.least <= float(value) <= self.most
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Branch:
    """Goes on where a variable's value says."""

    variable: str
    cases: tuple[Case, ...]
    default: str


@dataclass(frozen=True, slots=True)
class Set:
    """Sets variables, in order."""

    values: tuple[tuple[str, Template], ...]


@dataclass(frozen=True, slots=True)
class Http:
    """Asks another system.

    Args:
        method: GET, POST, …
        url: Values in it are quoted; its host is fixed.
        save: Variables, and the path in the answer's JSON where each is found.
        on_error: Where it leads if there is no answer in time, no success, or nothing at a path.
        headers: Names and values.
        body: Sent as JSON: the same shape, with templates for its texts; None: nothing.
        timeout_s: For all of it.
    """

    method: str
    url: Template
    save: tuple[tuple[str, str], ...]
    on_error: str
    headers: tuple[tuple[str, Template], ...] = ()
    body: Body = None
    timeout_s: float = 3.0


Body: TypeAlias = "Template | bool | float | int | list[Body] | dict[str, Body] | None"


@dataclass(frozen=True, slots=True)
class TransferStep:
    """Hands the caller over; `on_error` where that fails, empty: the flow ends the call."""

    number: Template
    on_error: str = ""


@dataclass(frozen=True, slots=True)
class SendKeys:
    """Presses keys towards the caller's side."""

    digits: str


@dataclass(frozen=True, slots=True)
class Goto:
    """Goes on in another block."""

    block: str


@dataclass(frozen=True, slots=True)
class HangUpStep:
    """Ends the call."""


Step: TypeAlias = Say | ListenStep | Branch | Set | Http | TransferStep | SendKeys | Goto | HangUpStep


@dataclass(frozen=True, slots=True)
class Flow:
    """A whole flow.

    Args:
        start: The first block.
        blocks: Steps by name.
        variables: What variables hold at first.
        timezone: Of the built-in variables; empty: the machine's.
    """

    start: str
    blocks: dict[str, tuple[Step, ...]]
    variables: dict[str, str] = field(default_factory=dict)
    timezone: str = ""

    def phrases(self) -> list[str]:
        """All that callers are expected to say, for a recognizer that must be told; each once."""
        listens = [step for steps in self.blocks.values() for step in steps if isinstance(step, ListenStep)]
        return list(dict.fromkeys(phrase for step in listens for each in step.choices for phrase in each.phrases))
