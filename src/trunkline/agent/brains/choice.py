"""How BRAIN becomes a brain for each call, and its check at the worker's start."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import httpx

from trunkline.agent.brains.brain import Brain
from trunkline.agent.brains.chat_stream import ChatModel
from trunkline.agent.brains.echo import EchoBrain
from trunkline.agent.brains.flow_file import load_flow
from trunkline.agent.brains.llm import PROMPT, LlmBrain, Persona
from trunkline.agent.brains.own import OwnBrain, import_brain
from trunkline.agent.brains.script import ScriptBrain
from trunkline.agent.brains.tools import Toolbox, load_tools
from trunkline.core.errors import ConfigError
from trunkline.settings import Settings

MAX_PROMPT_BYTES = 100_000
CONNECTIONS = httpx.Limits(max_connections=200, max_keepalive_connections=50)


class Brains:
    """Makes the brains of one worker, which share connections.

    Args:
        settings: BRAIN, and what that brain needs.

    Raises:
        ConfigError: what is missing or wrong; a mistake in a file with its line.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._http: httpx.AsyncClient | None = None
        self._make = self._maker()

    def make(self) -> Brain:
        """A brain for one call."""
        return self._make()

    async def close(self) -> None:
        """Closes the connections."""
        if self._http is not None:
            await self._http.aclose()

    def _maker(self) -> Callable[[], Brain]:
        name = self._settings.brain
        makers = {"echo": lambda: EchoBrain, "script": self._script, "llm": self._llm}
        if name in makers:
            return makers[name]()
        if ":" not in name:
            raise ConfigError(f"BRAIN={name!r} is unknown", f"known: {', '.join(sorted(makers))}, MODULE:CLASS")
        own = import_brain(name)
        return lambda: OwnBrain(own, own.listen)

    def _script(self) -> Callable[[], Brain]:
        if self._settings.brain_script is None:
            raise ConfigError("BRAIN=script needs BRAIN_SCRIPT", "a file such as examples/opening_hours.yaml")
        flow = load_flow(self._settings.brain_script)
        return lambda: ScriptBrain(flow, self._client())

    def _llm(self) -> Callable[[], Brain]:
        settings = self._settings
        if not settings.llm_url or not settings.llm_model:
            raise ConfigError("BRAIN=llm needs LLM_URL and LLM_MODEL", "such as https://api.openai.com/v1")
        prompt = _prompt(settings.llm_system_prompt_file) if settings.llm_system_prompt_file is not None else PROMPT
        persona = Persona(prompt, settings.llm_greeting)
        tools = load_tools(settings.llm_tools) if settings.llm_tools is not None else {}

        def make() -> Brain:
            key = settings.llm_api_key.get_secret_value()
            model = ChatModel(self._client(), settings.llm_url, settings.llm_model, key, settings.brain_next_word_s)
            return LlmBrain(model, Toolbox(tools, self._client()), persona)

        return make

    def _client(self) -> httpx.AsyncClient:
        # Made with the first call, on the worker's loop; its time limits are those of each request.
        if self._http is None:
            self._http = httpx.AsyncClient(limits=CONNECTIONS)
        return self._http


def check_brain(settings: Settings) -> None:
    """Raises ConfigError where BRAIN, or what it needs, is missing or wrong."""
    Brains(settings)


def script_phrases(settings: Settings) -> tuple[str, ...]:
    """What callers of a script are expected to say, for a recognizer that must be told; nothing for other brains.

    Raises:
        ConfigError: the script is wrong.
    """
    if settings.brain != "script" or settings.brain_script is None:
        return ()
    return _phrases_of(settings.brain_script)


@lru_cache(maxsize=8)
def _phrases_of(script: Path) -> tuple[str, ...]:
    return tuple(load_flow(script).phrases())


def _prompt(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"LLM_SYSTEM_PROMPT_FILE: can't read {path}: {problem}") from error
    if not text or len(text) > MAX_PROMPT_BYTES:
        raise ConfigError(f"LLM_SYSTEM_PROMPT_FILE: {path} is {'longer than 100 KB' if text else 'empty'}")
    return text
