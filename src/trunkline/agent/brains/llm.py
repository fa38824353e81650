"""BRAIN=llm: asks a model at any OpenAI-compatible endpoint, and speaks its answer sentence by sentence.

The model is told the conversation as the caller heard it, not as it was generated.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass
from typing import Any

from trunkline.agent.brains.brain import Action, Answer, Brain, Call, Listen, only
from trunkline.agent.brains.chat_stream import ChatModel, ToolCall
from trunkline.agent.brains.echo import NOT_UNDERSTOOD
from trunkline.agent.brains.tools import Toolbox
from trunkline.core.sentences import SentenceSplitter

MAX_ROUNDS = 4
"""How often a model may ask for tools in one answer; after that it must say something."""
MAX_CALLS = 8
"""Of one round."""
HISTORY_TURNS = 40
"""The model is told so many turns, at most."""

PROMPT = """You answer a phone call. Speak in short plain sentences, as people do on the phone; no lists, no markup.
What the caller says comes from speech recognition and may be misheard: ask again where it makes no sense."""

_KEYS = re.compile(r"\(\d+ keys?\)")


@dataclass(frozen=True, slots=True)
class Persona:
    """What the model is told to be.

    Args:
        prompt: The system prompt.
        greeting: What it says when the call is answered; empty: it waits for the caller.
    """

    prompt: str = PROMPT
    greeting: str = ""


class LlmBrain(Brain):
    """A model in one call.

    Args:
        model: Where it is.
        toolbox: What it may do.
        persona: What it is told to be.
    """

    listen = Listen(max_keys=20, end_key="#", key_gap_s=2.0)

    def __init__(self, model: ChatModel, toolbox: Toolbox, persona: Persona) -> None:
        self._model = model
        self._toolbox = toolbox
        self._persona = persona
        self._pressed: list[str] = []

    async def greet(self, call: Call) -> Answer:
        """A set sentence, at once; not where the call was taken over in the middle."""
        if self._persona.greeting and not call.resumed:
            yield self._persona.greeting

    def reply(self, call: Call, words: str) -> Answer:
        """The model's answer."""
        return self._converse(call, words) if words else only(NOT_UNDERSTOOD)

    def on_keys(self, call: Call, keys: str) -> Answer:
        """The model's answer to keys."""
        said = _pressed(keys)
        answer = self._converse(call, said)
        # The record has only how many they were.
        self._pressed.append(said)
        return answer

    def messages(self, call: Call, said: str) -> list[dict[str, Any]]:
        """The conversation as the model is told it."""
        pressed = list(self._pressed)
        told: list[dict[str, Any]] = []
        for exchange in call.history:
            caller = exchange.caller
            if _KEYS.fullmatch(caller) and pressed:
                caller = pressed.pop(0)
            if caller:
                told.append({"role": "user", "content": caller})
            if exchange.heard:
                told.append({"role": "assistant", "content": exchange.heard})
        system = {"role": "system", "content": self._persona.prompt}
        return [system, *told[-2 * HISTORY_TURNS :], {"role": "user", "content": said}]

    async def _converse(self, call: Call, said: str) -> Answer:
        messages = self.messages(call, said)
        for round_number in range(MAX_ROUNDS + 1):
            calls: list[ToolCall] = []
            splitter = SentenceSplitter()
            spoken: list[str] = []
            tools = self._toolbox.as_schemas() if round_number < MAX_ROUNDS else []
            async with contextlib.aclosing(self._model.stream(messages, tools, calls)) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    for sentence in splitter.feed(piece):
                        spoken.append(sentence)
                        yield sentence
            for sentence in splitter.end():
                spoken.append(sentence)
                yield sentence
            if not calls:
                return
            results = await asyncio.gather(*(self._toolbox.run(each) for each in calls[:MAX_CALLS]))
            messages += _told(" ".join(spoken), calls[:MAX_CALLS], [text for text, _ in results])
            actions: list[Action] = [action for _, action in results if action is not None]
            for action in actions:
                yield action
            if actions and spoken:
                return


def _pressed(keys: str) -> str:
    return f"(pressed the keys {' '.join(keys)})"


def _told(spoken: str, calls: list[ToolCall], results: list[str]) -> list[dict[str, Any]]:
    """What the model said, asked for and was told, as messages."""
    asked = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in calls
    ]
    pairs = zip(calls, results, strict=True)
    told = [{"role": "tool", "tool_call_id": call.id, "content": result} for call, result in pairs]
    return [{"role": "assistant", "content": spoken or None, "tool_calls": asked}, *told]
