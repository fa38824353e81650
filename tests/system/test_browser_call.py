"""Somebody calls from a browser by a link that works once: real Chromium, real servers, a sentence as microphone."""

from __future__ import annotations

import wave
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, expect

from tests.browser import open_browser
from tests.world import World
from trunkline.core.units import SAMPLE_RATE_HZ
from trunkline.loadtest.webrtc_line import read_wav
from trunkline.testing.speech import silence

pytestmark = [pytest.mark.system, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

DENIED = ("--use-fake-device-for-media-stream", "--deny-permission-prompts")
ANSWERED_WITHIN_MS = 20_000
SAID_WITHIN_MS = 40_000

# What the page plays of the agent: true once it was loud.
AGENT_WAS_HEARD = """async () => {
  const context = new AudioContext()
  const analyser = context.createAnalyser()
  context.createMediaStreamSource(document.querySelector("audio").srcObject).connect(analyser)
  const samples = new Float32Array(analyser.fftSize)
  for (let look = 0; look < 600; look++) {
    analyser.getFloatTimeDomainData(samples)
    if (samples.some((sample) => Math.abs(sample) > 0.05)) return true
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return false
}"""


@pytest_asyncio.fixture(loop_scope="module")
async def microphone(world: World, sentences: list[str]) -> Path:
    """A sentence over and over, with pauses in which the agent can answer."""
    [utterance] = await world.utterances(sentences[0])
    sound = np.concatenate([silence(3.0), read_wav(utterance.wav), silence(6.0)])
    path = world.folder / "microphone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(sound.tobytes())
    return path


@pytest_asyncio.fixture(loop_scope="module")
async def browser(tmp_path: Path, microphone: Path) -> AsyncIterator[BrowserContext]:
    """A browser that may use the microphone and reaches nothing but this machine."""
    async with open_browser(
        tmp_path / "profile",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: BrowserContext) -> Page:
    page = await browser.new_page()
    # pytest shows it where the test fails.
    page.on("console", lambda message: print(message.type, message.text))
    return page


async def link(world: World) -> str:
    made = await world.api("/call/links", "POST")
    assert made["link"].startswith(f"{world.plan.env['ORCH_URL']}/call#")
    return str(made["link"])


async def test_the_answer_is_heard_and_shown(world: World, page: Page, sentences: list[str]) -> None:
    broken: list[str] = []
    page.on("console", lambda message: broken.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: broken.append(str(error)))
    address = await link(world)
    await page.goto(address)
    # By keyboard alone.
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Call")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#state")).to_contain_text("Connected", timeout=ANSWERED_WITHIN_MS)
    assert "#" not in page.url
    assert await page.evaluate(AGENT_WAS_HEARD)
    turn = page.locator("#turns li").first
    await expect(turn).to_contain_text(sentences[0], timeout=SAID_WITHIN_MS)
    await expect(turn).to_contain_text("You said")
    await expect(turn).to_contain_text("RoundTrip")
    await expect(turn).to_contain_text("Response")
    await expect(page.locator("#agent[data-speaking=true]")).to_be_visible(timeout=SAID_WITHIN_MS)
    await page.get_by_role("button", name="Hang up").press("Enter")
    await expect(page.locator("#state")).to_contain_text("The call is over.")
    assert broken == []
    used = await page.context.new_page()
    await used.goto(address)
    await used.get_by_role("button", name="Call").click()
    await expect(used.get_by_role("alert")).to_contain_text("This link was used before")
    code = address.partition("#")[2]
    assert not [log.name for log in world.plan.log_dir.iterdir() if code in log.read_text(errors="replace")]


async def test_an_agent_that_ends_the_call_is_told(world: World, page: Page) -> None:
    await page.goto(await link(world))
    await page.get_by_role("button", name="Call").click()
    await expect(page.locator("#state")).to_contain_text("Connected", timeout=ANSWERED_WITHIN_MS)
    [call] = [each["call"] for each in (await world.api("/calls"))["calls"] if each["kind"] == "webrtc"]
    await world.api(f"/calls/{call}", "DELETE")
    await expect(page.locator("#state")).to_contain_text("The call is over.")
    await expect(page.get_by_role("alert")).to_be_hidden()


async def test_a_refused_microphone_leaves_the_link_good(world: World, tmp_path: Path) -> None:
    address = await link(world)
    async with open_browser(tmp_path / "deaf", *DENIED) as browser:
        page = await browser.new_page()
        await page.goto(address)
        await page.get_by_role("button", name="Call").click()
        await expect(page.get_by_role("alert")).to_contain_text("not allowed to use the microphone")
        await expect(page.get_by_role("button", name="Call")).to_be_enabled()
    answer = await world.http.post(f"{world.plan.env['ORCH_URL']}/call/begin", json={"code": address.partition("#")[2]})
    assert answer.status_code == 200
    await world.api(f"/calls/{answer.json()['call']}", "DELETE")


async def test_an_address_without_a_link_says_so(world: World, page: Page) -> None:
    await page.goto(f"{world.plan.env['ORCH_URL']}/call")
    await expect(page.get_by_role("alert")).to_contain_text("no link in it")
    await expect(page.get_by_role("button", name="Call")).to_be_disabled()


async def test_no_agent_free_is_told_and_can_be_tried_again(world: World, page: Page) -> None:
    await page.goto(await link(world))
    await page.route("**/call/begin", lambda route: route.fulfill(status=503, json={"reason": "full"}))
    await page.get_by_role("button", name="Call").click()
    await expect(page.get_by_role("alert")).to_contain_text("No agent is free")
    await expect(page.get_by_role("button", name="Call")).to_be_enabled()
