"""A script on the phone, on real servers: keys in and out, HTTP, a transfer by REFER, and a hang-up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from tests.world import World, missing, open_world
from trunkline.core.wire import CallRecord, TurnOutcome, TurnRecord
from trunkline.loadtest.phone import CallEnded, HeardStart, HeardStop, PhoneEvent, PhoneLine
from trunkline.loadtest.phone_events import KeyHeard, Referred
from trunkline.loadtest.records import fetch_records
from trunkline.stack.binaries import find_media_engine

pytestmark = [pytest.mark.system, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

FLOW = """\
allow: ["{host}"]
blocks:
  menu:
    - say: Welcome to the test. Press a key or say talk to somebody, and take all the time that you need for it.
    - listen:
        choices:
          - {{keys: 2, goto: dial}}
          - {{keys: 3, goto: nobody}}
          - {{words: [talk to somebody, speak to a person], keys: 4, goto: person}}
          - {{keys: 9, goto: goodbye}}
        keys: {{most: 6, least: 4, into: order}}
        key_gap: 1.5
        give_up: goodbye
    - http: {{url: "http://{host}/orders/{{order}}", save: {{status: status}}, on_error: goodbye}}
    - say: "Your order is {{status}}."
    - goto: menu
  dial:
    - send_keys: "42#"
    - goto: menu
  nobody:
    - transfer: {{to: "+15550199", on_error: sorry}}
  sorry:
    - say: Nobody is there.
    - goto: menu
  person:
    - say: One moment.
    - transfer: "+15550100"
  goodbye:
    - say: Goodbye.
    - hangup
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sdk", "native"])
async def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A stack whose one worker follows the flow above, and the shop that the flow asks."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDIA_ENGINE", request.param)
        if request.param == "native":
            engine = await find_media_engine(lambda *_: None)
            if engine is None:
                missing("trunkline-media is missing; make servers")
            patch.setenv("MEDIA_ENGINE_PROGRAM", str(engine))
        runner, host = await _shop()
        script = folder / "flow.yaml"
        script.write_text(FLOW.format(host=host))
        patch.setenv("BRAIN", "script")
        patch.setenv("BRAIN_SCRIPT", str(script))
        patch.setenv("TRANSFER_ALLOW", "+15550100")
        async for opened in open_world(folder, workers=1):
            yield opened
        await runner.cleanup()


async def _shop() -> tuple[web.AppRunner, str]:
    async def order(request: web.Request) -> web.Response:
        return web.json_response({"status": f"number {request.match_info['order']}"})

    app = web.Application()
    app.router.add_get("/orders/{order}", order)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"127.0.0.1:{runner.addresses[0][1]}"


async def dialled(world: World) -> tuple[str, PhoneLine]:
    call, dial = await world.announced()
    line = await world.phone.dial(call, dial.uri, (dial.username, dial.password), caller="+15550142")
    await line.answered(10)
    await until(line, HeardStart)
    return call, line


async def until(line: PhoneLine, *kinds: type[PhoneEvent], limit_s: float = 20) -> list[PhoneEvent]:
    """The call's events up to one of these kinds."""
    seen: list[PhoneEvent] = []
    async with asyncio.timeout(limit_s):
        while not seen or not isinstance(seen[-1], kinds):
            seen.append(await line.event())
    return seen


async def records_of(world: World, call: str) -> tuple[CallRecord, list[TurnRecord]]:
    ends, turns = await fetch_records(world.exchange.metrics_url, [call], 10)
    return ends[call], sorted(turns, key=lambda turn: turn.turn)


async def test_keys_interrupt_the_prompt_and_are_looked_up(world: World) -> None:
    call, line = await dialled(world)
    await asyncio.sleep(0.5)
    await line.press("4711#")
    await until(line, HeardStop)
    await until(line, HeardStart)
    await line.press("9")
    [*_, ended] = await until(line, CallEnded)
    assert isinstance(ended, CallEnded)
    assert ended.by == "agent"
    record, turns = await records_of(world, call)
    assert (record.result, record.reason) == ("success", "agent_hung_up")
    menu, order, *_, goodbye = turns
    assert menu.outcome is TurnOutcome.INTERRUPTED
    assert menu.answer.startswith(menu.heard)
    assert 0 < len(menu.heard) < len(menu.answer)
    assert (order.understood, order.answer.partition(". ")[0]) == ("(4 keys)", "Your order is number 4711")
    assert (goodbye.understood, goodbye.answer, goodbye.heard) == ("(1 key)", "Goodbye.", "Goodbye.")


async def test_the_agent_presses_keys(world: World) -> None:
    _, line = await dialled(world)
    await line.press("2")
    keys = []
    while len(keys) < 3:
        [*_, key] = await until(line, KeyHeard)
        assert isinstance(key, KeyHeard)
        keys.append(key.digit)
    assert keys == ["4", "2", "#"]
    await line.hang_up()


@pytest.mark.parametrize("how", ["key", "words"])
async def test_a_caller_is_transferred_by_refer(world: World, how: str) -> None:
    call, line = await dialled(world)
    if how == "key":
        await line.press("4")
        [*_, last] = await until(line, Referred, CallEnded)
    else:
        [said] = await world.utterances("talk to somebody")
        last = None
        # Recognition over a telephone is not what this is about: it may need another try.
        for attempt in range(3):
            await asyncio.sleep(1)
            await line.play(f"s{attempt}", said.wav)
            with contextlib.suppress(TimeoutError):
                [*_, last] = await until(line, Referred, CallEnded, limit_s=7)
                break
    assert isinstance(last, Referred), (await records_of(world, call))[1]
    assert "tel:+15550100" in last.to
    [*_, ended] = await until(line, CallEnded)
    assert isinstance(ended, CallEnded)
    assert ended.by == "agent"
    record, turns = await records_of(world, call)
    assert (record.result, record.reason) == ("success", "transferred")
    assert (turns[-1].answer, turns[-1].heard) == ("One moment.", "One moment.")


async def test_a_transfer_that_is_not_allowed_goes_on_where_the_flow_says(world: World) -> None:
    call, line = await dialled(world)
    await line.press("3")
    await until(line, HeardStop)
    await until(line, HeardStart)
    await asyncio.sleep(0.5)
    await line.hang_up()
    record, turns = await records_of(world, call)
    assert record.reason == "caller_hung_up"
    assert turns[-1].answer.startswith("Nobody is there.")
    assert '"event": "transfer_refused"' in world.log("orchestrator")


async def test_no_key_and_no_number_is_in_any_log(world: World) -> None:
    for log in world.plan.log_dir.iterdir():
        if log.name.startswith(("agent", "orchestrator", "metrics")):
            text = log.read_text(errors="replace")
            assert "4711" not in text, log.name
            assert "+15550100" not in text, log.name
