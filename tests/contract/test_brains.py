"""Brains with their real outside: models that stream over HTTP, systems that scripts and tools ask, threads."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from pydantic import SecretStr

from trunkline.agent.brains.brain import Action, Answer, Brain, Call, Exchange, HangUp, Listen, Transfer
from trunkline.agent.brains.chat_stream import ChatModel, ToolCall
from trunkline.agent.brains.choice import Brains, check_brain, script_phrases
from trunkline.agent.brains.flow_file import load_flow
from trunkline.agent.brains.http_call import MAX_ANSWER_BYTES, HttpRequest, call_http
from trunkline.agent.brains.llm import LlmBrain
from trunkline.agent.brains.own import OwnBrain
from trunkline.agent.brains.patience import BrainTimeoutError, Patience, patiently
from trunkline.agent.brains.script import ScriptBrain
from trunkline.agent.brains.tools import load_tools
from trunkline.agent.pipeline.phrases import load_phrases
from trunkline.core.errors import ConfigError, RemoteProtocolError, UpstreamError
from trunkline.emulators.app import serving
from trunkline.emulators.behaviour import Behaviour, Delay, Fault
from trunkline.settings import Settings

pytestmark = pytest.mark.contract

EXAMPLES = Path(__file__).parents[2] / "examples"

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(**routes: Handle) -> AsyncIterator[str]:
    """A server with one path a name; yields HOST:PORT."""
    app = web.Application()
    for name, handle in routes.items():
        app.router.add_route("*", f"/{name}{{rest:.*}}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


async def all_of(answer: Answer) -> list[str | Action]:
    return [item async for item in answer]


def settings(**changes: Any) -> Settings:
    return Settings(_env_file=None, **changes)  # type: ignore[call-arg]


def llm(url: str, **changes: Any) -> Brains:
    return Brains(settings(brain="llm", llm_url=url, llm_model="m", llm_api_key=SecretStr("key"), **changes))


@dataclass
class Model:
    """Streams what a test tells it to: for each request, deltas; or a status; or raw bytes.

    Args:
        rounds: What it answers, request by request.
    """

    rounds: list[list[dict[str, Any]] | int | bytes]
    asked: list[dict[str, Any]] = field(default_factory=list)
    hold: asyncio.Event | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def completions(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer key"
        self.asked.append(await request.json())
        said = self.rounds[len(self.asked) - 1]
        if isinstance(said, int):
            return web.Response(status=said, text="no")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if isinstance(said, bytes):
            await response.write(said)
            return response
        try:
            for delta in said:
                event = json.dumps({"choices": [{"index": 0, "delta": delta}]})
                await response.write(f": comment\n\ndata: {event}\n\n".encode())
            if self.hold is not None:
                await self.hold.wait()
            await response.write(b'data: {"choices": [], "usage": {}}\n\ndata: [DONE]\n\n')
        except (ConnectionError, asyncio.CancelledError):
            self.gone.set()
            raise
        return response


def text(*pieces: str) -> list[dict[str, Any]]:
    return [{"content": piece} for piece in pieces]


def tool(name: str, *arguments: str, index: int = 0) -> list[dict[str, Any]]:
    first = {"index": index, "id": f"c{index}", "function": {"name": name, "arguments": ""}}
    rest = [{"index": index, "function": {"arguments": each}} for each in arguments]
    return [{"tool_calls": [each]} for each in [first, *rest]]


# --- the model ---


async def test_the_emulated_model_answers_sentence_by_sentence_and_is_told_what_was_heard() -> None:
    async with serving(Behaviour(llm_first=Delay(0.02), llm_token_s=0.01)) as url:
        brains = llm(url.replace("ws://", "http://") + "/v1")
        brain = brains.make()
        call = Call("CA1", history=[Exchange("hi", "Hello, how", True)])
        assert await all_of(brain.reply(call, "good morning")) == ["You said: good morning.", "Nice!"]
        assert isinstance(brain, LlmBrain)
        assert brain.messages(call, "x")[1:] == [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "Hello, how"},
            {"role": "user", "content": "x"},
        ]
        await brains.close()


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.STALL, Fault.GARBAGE])
async def test_a_stream_that_breaks_is_an_error_within_its_time(fault: Fault) -> None:
    async with serving(Behaviour(llm_first=Delay(0.01), faults={fault: 1.0})) as url:
        brains = llm(url.replace("ws://", "http://") + "/v1", brain_next_word_s=0.3)
        with pytest.raises((UpstreamError, RemoteProtocolError)):
            await all_of(brains.make().reply(Call("CA1"), "good morning"))
        await brains.close()


async def test_the_first_sentence_comes_before_the_model_is_done_and_closing_stops_the_model() -> None:
    model = Model([text("Hello", " there.", " And", " more")], hold=asyncio.Event())
    async with served(v1=model.completions) as host:
        brains = llm(f"http://{host}/v1")
        answer: Any = brains.make().reply(Call("CA1"), "hi")
        async with asyncio.timeout(5):
            assert await anext(answer) == "Hello there."
            await answer.aclose()
            # The server notices when it writes to a connection that is gone.
            model.hold.set()  # type: ignore[union-attr]
        assert model.asked[0]["stream"] is True
        assert model.asked[0]["messages"][-1] == {"role": "user", "content": "hi"}
        await brains.close()


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (401, "llm: status 401"),
        (500, "llm: status 500"),
        (b"data: {}\n\n", "cut"),
        (b"data: [1]\n\n", "an event that is none"),
        (b"data: {no\n\n", "an event that is none"),
        (b'data: {"error": {"message": "secret"}}\n\n', "an error in the middle"),
        (b'data: {"choices": [{"delta": {"tool_calls": [{"index": 7}]}}]}\n\n', "out of order"),
        (b'data: {"choices": [{"delta": {"tool_calls": [3]}}]}\n\n', "a tool call that is none"),
        (b": " + b"x" * 1_100_000 + b"\n\n", "more than"),
    ],
)
async def test_what_is_no_stream_is_told_without_quoting_it(
    http: httpx.AsyncClient, said: int | bytes, problem: str
) -> None:
    model = Model([said])
    async with served(v1=model.completions) as host:
        chat = ChatModel(http, f"http://{host}/v1/", "m", "key")
        with pytest.raises((UpstreamError, RemoteProtocolError), match=problem) as caught:
            await all_of(chat.stream([], [], []))  # type: ignore[arg-type]
        assert "secret" not in str(caught.value)


async def test_a_model_that_is_not_there(http: httpx.AsyncClient) -> None:
    with pytest.raises(UpstreamError, match="llm: ConnectError"):
        await all_of(ChatModel(http, "http://127.0.0.1:1/v1", "m").stream([], [], []))  # type: ignore[arg-type]


# --- tools ---


def tools_at(host: str, folder: Path) -> Path:
    path = folder / "tools.yaml"
    path.write_text((EXAMPLES / "tools.yaml").read_text().replace("localhost:8099", host))
    return path


async def test_a_model_calls_tools_and_answers_with_what_they_say(tmp_path: Path) -> None:
    orders: list[str] = []

    async def order(request: web.Request) -> web.Response:
        orders.append(request.raw_path)
        return web.json_response({"order": {"status": "shipped"}, "internal": "x"})

    model = Model(
        [
            [*text("One moment. "), *tool("order_status", '{"order"', ': "12/34"}')],
            [*text("It was shipped."), *tool("hang_up", "{}")],
        ]
    )
    async with served(v1=model.completions, orders=order) as host:
        brains = llm(f"http://{host}/v1", llm_tools=tools_at(host, tmp_path))
        said = await all_of(brains.make().reply(Call("CA1"), "where is my order"))
        await brains.close()
    assert said == ["One moment.", "It was shipped.", HangUp()]

    assert orders == ["/orders/12%2F34"]
    assert [each["function"]["name"] for each in model.asked[0]["tools"]] == ["order_status", "to_a_person", "hang_up"]
    assert model.asked[1]["messages"][-2:] == [
        {
            "role": "assistant",
            "content": "One moment.",
            "tool_calls": [
                {
                    "id": "c0",
                    "type": "function",
                    "function": {"name": "order_status", "arguments": '{"order": "12/34"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c0", "content": '{"status": "shipped"}'},
    ]


async def test_a_model_that_asks_for_tools_again_and_again_must_say_something_in_the_end(tmp_path: Path) -> None:
    model = Model([*[tool("order_status", "{}")] * 4, text("I give up.")])
    async with served(v1=model.completions) as host:
        brains = llm(f"http://{host}/v1", llm_tools=tools_at(host, tmp_path))
        assert await all_of(brains.make().reply(Call("CA1"), "hi")) == ["I give up."]
        await brains.close()
    assert ["tools" in each for each in model.asked] == [True] * 4 + [False]
    assert model.asked[-1]["messages"][-1]["content"] == "error: order is missing"


@pytest.mark.parametrize(
    ("call", "told", "action"),
    [
        (ToolCall("1", "nonsense", "{}"), "error: there is no such tool", None),
        (ToolCall("1", "order_status", "[1]"), "error: the arguments are no JSON object", None),
        (ToolCall("1", "order_status", "{"), "error: the arguments are no JSON object", None),
        (ToolCall("1", "order_status", '{"order": "9"}'), "error: status 404", None),
        (ToolCall("1", "order_status", '{"order": "8"}'), "error: nothing was found", None),
        (ToolCall("1", "to_a_person", "{}"), "done", Transfer("+15550100")),
    ],
)
async def test_what_goes_wrong_with_a_tool_is_told_to_the_model(
    tmp_path: Path, call: ToolCall, told: str, action: Action | None
) -> None:
    async def order(request: web.Request) -> web.Response:
        return web.json_response({}, status=404 if request.path.endswith("9") else 200)

    async with served(orders=order) as host:
        brains = llm(f"http://{host}/v1", llm_tools=tools_at(host, tmp_path))
        brain: Any = brains.make()
        assert await brain._toolbox.run(call) == (told, action)
        await brains.close()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("type: string", "type: text", "tools.yaml:10: type: expected one of string, number, integer, boolean"),
        ("{order}", "{ordre}", "tools.yaml:12: url: there is no parameter 'ordre'"),
        ("http://localhost:8099/", "http://elsewhere/", "tools.yaml:12: url: the host 'elsewhere' is not allowed"),
        ("name: hang_up", "name: to_a_person", "the tool 'to_a_person' stands there twice"),
        ("    hangup: true", "    result: x", "expected one of http, transfer, hangup"),
        ("+15550100", "5550100", "transfer: expected a number such as +15550100"),
        ("name: hang_up", "name: hang up", "'hang up' can't be a tool's name"),
    ],
)
def test_a_mistake_in_the_tools_is_told_with_its_line(tmp_path: Path, old: str, new: str, problem: str) -> None:
    path = tmp_path / "tools.yaml"
    path.write_text((EXAMPLES / "tools.yaml").read_text().replace(old, new, 1))
    with pytest.raises(ConfigError, match=problem.replace("+", r"\+")):
        load_tools(path)


async def test_keys_are_remembered_by_the_model_though_the_record_only_counts_them() -> None:
    model = Model([text("Thanks."), text("Yes.")])
    async with served(v1=model.completions) as host:
        brains = llm(f"http://{host}/v1", llm_greeting="Hello.")
        brain = brains.make()
        assert await all_of(brain.greet(Call("CA1"))) == ["Hello."]
        assert await all_of(brain.greet(Call("CA1", resumed=True))) == []
        call = Call("CA1")
        await all_of(brain.on_keys(call, "12"))
        call.history.append(Exchange("(2 keys)", "Thanks."))
        await all_of(brain.reply(call, "and now"))
        assert await all_of(brain.reply(call, "")) == ["Sorry, I did not understand that."]
        await brains.close()
    contents = [message["content"] for message in model.asked[1]["messages"][1:]]
    assert contents == ["(pressed the keys 1 2)", "Thanks.", "and now"]


# --- HTTP of scripts ---


async def test_a_script_asks_its_shop_and_says_what_it_is_told(tmp_path: Path, http: httpx.AsyncClient) -> None:
    seen: list[tuple[str, str]] = []

    async def order(request: web.Request) -> web.Response:
        seen.append((request.path, request.headers["X-Caller"]))
        return web.json_response({"order": {"status": "delivered", "delivery": {"day": "Monday"}}})

    async with served(orders=order) as host:
        path = tmp_path / "flow.yaml"
        path.write_text((EXAMPLES / "order_status.yaml").read_text().replace("localhost:8099", host))
        brain = ScriptBrain(load_flow(path), http)
        call = Call("CA1", caller="+15550142")
        greeted = await all_of(brain.greet(call))
        assert greeted[:2] == ["Welcome to the shop.", "Please type your order number, and then the hash key."]
        assert greeted[2] == Listen(max_keys=8, end_key="#", silence_s=10.0)
        said = await all_of(brain.on_keys(call, "4711"))
    assert said[:2] == ["One moment, I look it up.", "Your order was delivered on Monday."]
    assert seen == [("/orders/4711", "+15550142")]


async def test_the_answer_of_another_system_is_bounded_in_time_and_size_and_redirects_are_not_followed(
    http: httpx.AsyncClient,
) -> None:
    release = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 10_000)
        except ConnectionError:
            return response

    async def moved(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/slow"})

    async def echo(request: web.Request) -> web.Response:
        return web.json_response({"method": request.method, "json": await request.json()})

    async with served(slow=slow, endless=endless, moved=moved, echo=echo) as host:
        answers = [
            await call_http(http, HttpRequest(method, f"http://{host}/{path}", {}, body, 0.5))
            for method, path, body in [
                ("GET", "slow", None),
                ("GET", "endless", None),
                ("GET", "moved", None),
                ("PUT", "echo", {"a": [1, "b"]}),
            ]
        ]
        release.set()
    assert [answer.problem for answer in answers] == [
        "no answer within 0.5 s",
        f"more than {MAX_ANSWER_BYTES} bytes",
        "status 302",
        "",
    ]
    assert answers[3].body == {"method": "PUT", "json": {"a": [1, "b"]}}
    assert (await call_http(http, HttpRequest("GET", "http://127.0.0.1:1/"))).problem == "ConnectError"


# --- somebody's own ---


class Blocking(Brain):
    """Does what should not be done on an event loop, and says in which thread."""

    listen = Listen(max_keys=3)
    release = threading.Event()

    def __init__(self) -> None:
        self.made_in = threading.current_thread().name

    async def reply(self, call: Call, words: str) -> Answer:
        if words == "block":
            self.release.wait(10)
        yield f"{self.made_in} {threading.current_thread().name} {len(call.history)}"
        call.history.clear()
        if words == "raise":
            raise KeyError("mine")
        if words == "for ever":
            while True:
                yield "again"

    def close(self) -> None:
        self.closed = threading.current_thread().name


async def test_a_brain_that_blocks_holds_up_nobody_else_and_is_given_up_in_its_time() -> None:
    Blocking.release.clear()
    blocked, other = OwnBrain(Blocking, Blocking.listen), OwnBrain(Blocking, Blocking.listen)
    call = Call("CA1", history=[Exchange("a", "b")])
    try:
        with pytest.raises(BrainTimeoutError, match="no word within"):
            await all_of(patiently(blocked.reply(call, "block"), Patience(0.05, 0.05)))
        assert await all_of(other.reply(call, "hi")) == ["brain brain 1"]
        # Its thread has the call as it was: what it does to it changes nothing here.
        assert len(call.history) == 1
        assert other.listen == Listen(max_keys=3)
    finally:
        Blocking.release.set()
        blocked.close()
        other.close()


async def test_a_brain_that_raises_raises_here_and_one_that_never_ends_can_be_stopped() -> None:
    made: list[Blocking] = []

    def make() -> Brain:
        made.append(Blocking())
        return made[-1]

    brain = OwnBrain(make)
    with pytest.raises(KeyError, match="mine"):
        await all_of(brain.reply(Call("CA1"), "raise"))
    answer: Any = brain.reply(Call("CA1"), "for ever")
    assert [await anext(answer) for _ in range(3)] == ["brain brain 0", "again", "again"]
    await answer.aclose()
    assert await all_of(brain.greet(Call("CA1"))) == []
    assert await all_of(brain.on_keys(Call("CA1"), "1")) == []
    assert await all_of(brain.on_silence(Call("CA1"))) == []
    assert await all_of(brain.on_transfer_failed(Call("CA1"), "+1")) == ["Sorry, I could not put you through."]
    brain.close()
    async with asyncio.timeout(5):
        while not hasattr(made[0], "closed"):
            await asyncio.sleep(0.01)
    assert len(made) == 1
    brain.close()


async def test_a_brain_that_can_not_be_made_raises_when_it_is_asked() -> None:
    def make() -> Brain:
        raise OSError("no database")

    brain = OwnBrain(make)
    with pytest.raises(OSError, match="no database"):
        await all_of(brain.reply(Call("CA1"), "hi"))
    brain.close()


# --- choosing ---


def test_the_example_is_short_and_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    assert len((EXAMPLES / "parrot.py").read_text().splitlines()) < 30
    brain = Brains(settings(brain="parrot:Parrot")).make()
    assert brain.listen == Listen()

    async def talk() -> list[str | Action]:
        said = await all_of(brain.greet(Call("CA1")))
        return said + await all_of(brain.reply(Call("CA1"), "goodbye"))

    said = asyncio.run(talk())
    assert said[1:] == ["Hello, I am a parrot.", "Goodbye. You interrupted me 0 times.", HangUp()]
    brain.close()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"brain": "nonsense"}, "BRAIN='nonsense' is unknown (known: echo, llm, script, MODULE:CLASS)"),
        ({"brain": "nonsense:Brain"}, "BRAIN=nonsense:Brain: can't import nonsense: ModuleNotFoundError"),
        ({"brain": "json:JSONDecoder"}, "BRAIN=json:JSONDecoder: json has no Brain of that name"),
        ({"brain": "trunkline.agent.brains.brain:Brain"}, "Brain has no reply"),
        ({"brain": "script"}, "BRAIN=script needs BRAIN_SCRIPT"),
        ({"brain": "llm"}, "BRAIN=llm needs LLM_URL and LLM_MODEL"),
        (
            {"brain": "llm", "llm_url": "http://h", "llm_model": "m", "llm_system_prompt_file": "/nowhere"},
            "LLM_SYSTEM_PROMPT_FILE: can't read /nowhere: No such file",
        ),
        (
            {"brain": "llm", "llm_url": "http://h", "llm_model": "m", "llm_system_prompt_file": "/dev/null"},
            "LLM_SYSTEM_PROMPT_FILE: /dev/null is empty",
        ),
    ],
)
def test_a_brain_that_can_not_be_had_is_told_in_one_line(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_brain(settings(**changes))
    assert problem in str(caught.value)


@pytest.mark.parametrize("name", ["opening_hours.yaml", "order_status.yaml"])
def test_what_the_examples_listen_for_can_be_recognized_without_a_key(name: str) -> None:
    phrases = script_phrases(settings(brain="script", brain_script=EXAMPLES / name))
    assert len(load_phrases(None, phrases).sentences) == len(phrases) >= 6
    assert script_phrases(settings()) == ()


def test_a_word_that_can_not_be_recognized_is_told() -> None:
    with pytest.raises(ConfigError, match="BRAIN_SCRIPT, phrase 2: the word 'xyzzy' is not in the recognizer"):
        load_phrases(None, ["hello", "xyzzy"])
