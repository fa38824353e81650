"""Has the brain answer: its sentences go to the voice, what it wants done is kept until the answer was heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from trunkline.agent.brains.brain import Action, Answer, Listen
from trunkline.agent.brains.patience import Patience, patiently
from trunkline.agent.listening import Listening
from trunkline.agent.pipeline.turn_taking import TurnTaking
from trunkline.core.turn_events import ReplyDecided, ReplyEmpty
from trunkline.settings import FAILURE_SENTENCE

log = structlog.get_logger()

STOP_TIMEOUT_S = 1.0
"""How long a brain that is told to stop may take."""


@dataclass(frozen=True, slots=True)
class Manners:
    """What a brain may do, and what stands in for one that fails.

    Args:
        patience: How long it may think.
        failure_sentence: What the caller hears where it raises, or thinks longer.
    """

    patience: Patience = field(default_factory=Patience)
    failure_sentence: str = FAILURE_SENTENCE


class Answering:
    """The answers of one call, one at a time.

    Args:
        voice: Speaks.
        listening: Is told how to listen.
        feed: Takes what became of the answer.
        manners: Time limits, and the sentence for failures.
    """

    def __init__(
        self,
        voice: TurnTaking,
        listening: Listening,
        feed: Callable[[ReplyDecided | ReplyEmpty], None],
        manners: Manners,
    ) -> None:
        self._voice = voice
        self._listening = listening
        self._feed = feed
        self._manners = manners
        self._task: asyncio.Task[None] | None = None
        self._actions: dict[int, list[Action]] = {}

    def begin(self, turn: int, utterance: int, answer: Answer, ready: Callable[[], bool]) -> None:
        """Starts to answer a turn.

        Args:
            turn: Its number.
            utterance: What its audio is called.
            answer: The brain's.
            ready: True once the brain may begin.
        """
        self._listening.hold()
        self._task = asyncio.get_running_loop().create_task(self._answer(turn, utterance, answer, ready))

    def cancel(self) -> None:
        """The answer is not wanted any more; what it did not say or do, it will not."""
        self._actions.clear()
        if self._task is not None:
            self._task.cancel()
            self._task = None
            self._listening.release()

    async def stop(self) -> None:
        """The call is over; returns when the brain has stopped, or after its time."""
        task = self._task
        self.cancel()
        if task is not None:
            await asyncio.wait({task}, timeout=STOP_TIMEOUT_S)

    def take_actions(self, turn: int) -> list[Action]:
        """What is to be done now that the answer to a turn was heard; once."""
        return self._actions.pop(turn, [])

    async def _answer(self, turn: int, utterance: int, answer: Answer, ready: Callable[[], bool]) -> None:
        await self._voice.begin(utterance)
        for _ in range(10):
            if ready():
                break
            await asyncio.sleep(0.01)
        actions: list[Action] = []
        spoke = False
        try:
            async for item in patiently(answer, self._manners.patience):
                if isinstance(item, Listen):
                    self._listening.obey(item)
                elif not isinstance(item, str):
                    actions.append(item)
                elif item.strip():
                    spoke = True
                    await self._say(turn, item.strip())
        except Exception as error:  # noqa: BLE001 (somebody else's brain: its failure is one turn's, not the call's)
            log.error("brain_failed", turn=turn, error=repr(error))
            spoke, actions = True, []
            await self._say(turn, self._manners.failure_sentence)
        self._actions = {turn: actions}
        self._task = None
        if spoke:
            await self._voice.end(utterance)
        self._listening.release()
        if not spoke:
            self._feed(ReplyEmpty(turn, acted=bool(actions)))

    async def _say(self, turn: int, sentence: str) -> None:
        self._feed(ReplyDecided(turn, sentence))
        await self._voice.speak(sentence)
