"""The interface of a brain: what decides what the agent says and does in one call.

A brain is a subclass of `Brain` with `reply`; everything else has a default. Each method is an async generator that
yields sentences, which are spoken while later ones are being made, and actions:

    class Parrot(Brain):
        async def reply(self, call: Call, words: str) -> Answer:
            yield f"{words}, {words}!"

`BRAIN=my_module:Parrot` has every call answered by its own instance. docs/brains.md has more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Exchange:
    """One turn of the past.

    Args:
        caller: What the caller said; "(3 keys)" where keys were pressed, empty where the agent spoke first.
        heard: The words of the answer that the caller heard, up to the last whole one.
        interrupted: True where the caller cut the answer short.
    """

    caller: str
    heard: str
    interrupted: bool = False


@dataclass(slots=True)
class Call:
    """One call, as its brain sees it.

    Args:
        id: The call's id, such as Twilio's CallSid.
        caller: The number that calls, as the carrier tells it; empty where it tells none.
        resumed: True where another worker began this call and was lost; what was said there is not known here.
        history: All turns so far, oldest first; kept up by the conversation.
    """

    id: str
    caller: str = ""
    resumed: bool = False
    history: list[Exchange] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Transfer:
    """Hands the caller over to somebody else, once the answer was heard. TRANSFER_ALLOW must name the number.

    Args:
        number: E.164, such as +15550100.
    """

    number: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """Ends the call, once the answer was heard."""


@dataclass(frozen=True, slots=True)
class SendDtmf:
    """Presses keys towards the caller's side, once the answer was heard.

    Args:
        digits: 0-9, *, #, A-D.
    """

    digits: str


@dataclass(frozen=True, slots=True)
class Listen:
    """How to listen to the caller from this answer on. Valid until the next `Listen`; takes effect at once.

    Args:
        max_keys: Keys are handed over when there are so many of them, 0: keys are ignored;
        end_key: or when this one is pressed, which is not handed over; empty for none;
        key_gap_s: or when no other follows within so many seconds.
        keys_interrupt: False: keys pressed over an answer wait for its end.
        silence_s: `on_silence` is asked after so many seconds in which nobody spoke; 0: never.
    """

    max_keys: int = 0
    end_key: str = ""
    key_gap_s: float = 3.0
    keys_interrupt: bool = True
    silence_s: float = 0.0


Action: TypeAlias = Transfer | HangUp | SendDtmf | Listen
Answer: TypeAlias = AsyncIterator[str | Action]
"""Sentences and actions. Cancelled when the caller interrupts: what was not yielded is neither said nor done."""


class Brain(ABC):
    """Answers one caller; made anew for each call, so it may keep state in itself.

    A method that raises, or yields nothing for too long, costs its turn: the caller hears BRAIN_FAILURE_SENTENCE,
    and the call goes on.
    """

    listen = Listen()
    """How to listen until an answer says otherwise."""

    @abstractmethod
    def reply(self, call: Call, words: str) -> Answer:
        """The answer to what the caller said.

        Args:
            call: The call so far.
            words: What was understood; empty where the caller spoke and was not understood, so ask again.
        """

    def greet(self, call: Call) -> Answer:
        """What the agent says when the call is answered; by default it waits for the caller."""
        return nothing()

    def on_keys(self, call: Call, keys: str) -> Answer:
        """The answer to keys; asked for only where `Listen.max_keys` says so."""
        return nothing()

    def on_silence(self, call: Call) -> Answer:
        """What to say when the caller says nothing; asked for only where `Listen.silence_s` says so."""
        return nothing()

    def on_transfer_failed(self, call: Call, number: str) -> Answer:
        """The transfer was not possible, and the caller is still here."""
        return only("Sorry, I could not put you through.")

    def close(self) -> None:  # noqa: B027 (most brains hold nothing)
        """The call is over. Must return at once."""


async def nothing() -> Answer:
    """An answer without words."""
    return
    yield ""


async def only(sentence: str) -> Answer:
    """An answer of one sentence."""
    yield sentence
