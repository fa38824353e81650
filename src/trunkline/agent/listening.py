"""Listens for keys and for silence, as the brain's last `Listen` says. Speech is the turn machine's."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from trunkline.agent.brains.brain import Listen
from trunkline.core.machine import Clock, TimerHandle

MAX_WAITING_KEYS = 64
"""Keys that may wait for the end of an answer; more are dropped, since nobody types so much ahead."""


@dataclass(frozen=True, slots=True)
class Noticed:
    """Who is told.

    Args:
        keys: Takes keys that belong together.
        first_key: The first of them interrupts what is being said.
        silence: Nobody spoke for `silence_s`.
    """

    keys: Callable[[str], None]
    first_key: Callable[[], None]
    silence: Callable[[], None]


class Listening:
    """Collects keys and waits for silence in one call.

    Args:
        rule: How to listen until told otherwise.
        noticed: Who is told; from timers too, and never from inside `obey` or `settle`.
        clock: For the gaps between keys, and for silence.
    """

    def __init__(self, rule: Listen, noticed: Noticed, clock: Clock) -> None:
        self._rule = rule
        self._noticed = noticed
        self._clock = clock
        self._waiting: deque[str] = deque(maxlen=MAX_WAITING_KEYS)
        self._keys = ""
        self._idle = False
        self._held = False
        self._gap: TimerHandle | None = None
        self._silence: TimerHandle | None = None

    def obey(self, rule: Listen) -> None:
        """Listens like this from now on."""
        self._rule = rule

    def hold(self) -> None:
        """A brain is at work, and may say how to listen: keys wait."""
        self._held = True

    def release(self) -> None:
        """It is done."""
        self._held = False
        self._watch_silence()
        self._take()

    def settle(self, idle: bool) -> None:
        """Takes whether anybody speaks or is about to.

        Args:
            idle: True where only the caller could go on.
        """
        if idle == self._idle:
            return
        self._idle = idle
        self._watch_silence()
        self._take()

    def press(self, key: str) -> None:
        """The caller pressed a key."""
        if len(self._waiting) < MAX_WAITING_KEYS:
            self._waiting.append(key)
        self._take()

    def close(self) -> None:
        """Tells nothing any more."""
        self._waiting.clear()
        self._held = True
        self._disarm_gap()
        self._disarm_silence()

    def _take(self) -> None:
        while self._waiting and not self._held and (self._idle or self._keys or self._rule.keys_interrupt):
            self._take_key(self._waiting.popleft())

    def _take_key(self, key: str) -> None:
        rule = self._rule
        if rule.max_keys == 0:
            return
        if key == rule.end_key:
            self._hand_over()
            return
        begins = not self._keys
        self._keys += key
        self._disarm_silence()
        if len(self._keys) >= rule.max_keys:
            self._hand_over()
            return
        self._disarm_gap()
        self._gap = self._clock.call_at(self._clock.time() + rule.key_gap_s, self._hand_over)
        if begins and not self._idle:
            self._noticed.first_key()

    def _hand_over(self) -> None:
        self._disarm_gap()
        keys, self._keys = self._keys, ""
        if keys:
            self._noticed.keys(keys)
        self._watch_silence()

    def _watch_silence(self) -> None:
        self._disarm_silence()
        if self._idle and not self._keys and self._rule.silence_s > 0:
            self._silence = self._clock.call_at(self._clock.time() + self._rule.silence_s, self._on_silence)

    def _on_silence(self) -> None:
        self._silence = None
        self._noticed.silence()

    def _disarm_gap(self) -> None:
        if self._gap is not None:
            self._gap.cancel()
            self._gap = None

    def _disarm_silence(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
