"""The collector's page in real Chromium: live, by mouse and keyboard, on a phone, in the dark, without the Internet."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, expect

from tests.browser import open_browser
from tests.conftest import free_port
from tests.unit.test_collector import ended, fares, turn
from trunkline.core import wire
from trunkline.core.wire import Mark, TurnOutcome

pytestmark = [pytest.mark.system, pytest.mark.timeout(90), pytest.mark.asyncio(loop_scope="module")]

UP_WITHIN_S = 30.0
SHOWN_WITHIN_MS = 20_000
NO_INTERNET = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
WORDS = "<img src=x onerror=document.title='owned'>"
WIDER_THAN_ITS_WINDOW = "() => document.documentElement.scrollWidth > document.documentElement.clientWidth"


class Collector:
    """A real one, in a process of its own."""

    def __init__(self, url: str, recordings: Path, http: httpx.AsyncClient) -> None:
        self.url = url
        self.recordings = recordings
        self._http = http
        self._seq = 0

    async def tell(self, *records: Any) -> None:
        """Sends records under the next numbers."""
        events = []
        for record in records:
            self._seq += 1
            events.append(wire.encode(record(self._seq)))
        answer = await self._http.post(f"{self.url}/ingest", content=b"\n".join(events))
        assert answer.status_code == 200, answer.text


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def collector(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Collector]:
    recordings = tmp_path_factory.mktemp("recordings")
    port = free_port()
    environment = {**os.environ, "METRICS_LISTEN": f"127.0.0.1:{port}", "RECORDINGS_DIR": str(recordings)}
    program = Path(sys.executable).with_name("trunkline")
    process = await asyncio.create_subprocess_exec(
        program, "metrics", env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
            async with asyncio.timeout(UP_WITHIN_S):
                while True:
                    try:
                        await http.get(f"{url}/healthz")
                        break
                    except httpx.TransportError:
                        await asyncio.sleep(0.05)
            told = Collector(url, recordings, http)
            await tell_calls(told)
            yield told
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def tell_calls(collector: Collector) -> None:
    """One that went well, one that failed, one whose end is not told yet."""
    await collector.tell(
        lambda seq: turn(seq, call="CAgood", turn=1, understood="where is my order", answer="It is on its way."),
        lambda seq: turn(
            seq,
            call="CAgood",
            turn=2,
            understood=WORDS,
            answer="You said a lot.",
            heard="You said",
            outcome=TurnOutcome.INTERRUPTED,
            marks_us={
                **{mark: at_us + 4_000_000 for mark, at_us in turn(1).marks_us.items()},
                Mark.BARGE_IN: 6_000_000,
                Mark.PLAYBACK_STOP: 6_090_000,
            },
        ),
        lambda seq: ended(seq, call="CAgood", turns=2, barge_ins=1, ended_us=9_000_000),
        lambda seq: turn(seq, call="CAbad", turn=1, understood="hello", answer="", outcome=TurnOutcome.UNANSWERED),
        lambda seq: ended(seq, call="CAbad", result="server_error", reason="media_failed"),
        lambda seq: turn(seq, call="CAopen", turn=1, understood="good morning", answer="Hello."),
    )
    write_sound(collector.recordings / "CAgood.wav")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BrowserContext]:
    async with open_browser(
        tmp_path_factory.mktemp("profile"), NO_INTERNET, "--autoplay-policy=no-user-gesture-required"
    ) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def page(collector: Collector, browser: BrowserContext) -> AsyncIterator[Page]:
    """The page, while a worker is alive; nothing on it may break."""
    await collector.tell(
        lambda seq: fares(seq, sender="w", worker="worker-1", calls=3, capacity=25, loop_lag_us=12_000),
    )
    opened = await browser.new_page()
    broken: list[str] = []
    opened.on("console", lambda message: broken.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: broken.append(str(error)))
    opened.on("requestfailed", lambda request: broken.append(request.url) if "recording" not in request.url else None)
    await opened.goto(collector.url)
    await expect(opened.get_by_role("status")).to_have_text("live", timeout=SHOWN_WITHIN_MS)
    yield opened
    await opened.close()
    assert broken == []


def write_sound(path: Path) -> None:
    """Two seconds of two tones."""
    at = np.arange(32_000) / 16_000
    both = np.column_stack([np.sin(at * 2_765), np.sin(at * 4_147)]) * 8_000
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(both.astype("<i2").tobytes())


def call_link(page: Page, call: str) -> Any:
    return page.locator(f'a[data-call="{call}"]')


async def test_figures_charts_workers_and_calls_are_shown(page: Page) -> None:
    tiles = page.locator("#counts")
    await expect(tiles).to_contain_text("calls now")
    await expect(tiles.locator(".tile").first).to_contain_text("room for 25, on 1 worker")
    await expect(page.get_by_role("img", name="Response over")).to_be_visible()
    await expect(page.get_by_role("img", name="RoundTrip over")).to_be_visible()
    worker = page.locator("#workers tbody tr")
    await expect(worker).to_contain_text("worker-1")
    await expect(worker).to_contain_text("3 of 25")
    await expect(worker).to_contain_text("12 ms")
    await expect(call_link(page, "CAbad")).to_contain_text("server error: media failed")


async def test_it_is_live_without_reload(page: Page, collector: Collector) -> None:
    await page.evaluate("() => { window.same = true }")
    await expect(call_link(page, "CAfresh")).to_have_count(0)
    await collector.tell(
        lambda seq: turn(seq, call="CAfresh", turn=1),
        lambda seq: fares(seq, sender="w", worker="worker-1", calls=7),
    )
    await expect(call_link(page, "CAfresh")).to_be_visible(timeout=SHOWN_WITHIN_MS)
    await expect(page.locator("#workers tbody")).to_contain_text("7 of 25", timeout=SHOWN_WITHIN_MS)
    assert await page.evaluate("() => window.same")


async def test_a_call_shows_its_turns_words_barge_in_and_waterfall(page: Page) -> None:
    await call_link(page, "CAgood").click()
    call = page.locator("#call")
    await expect(call.locator(".turn")).to_have_count(2)
    await expect(call).to_contain_text("where is my order")
    await expect(call).to_contain_text("barge-in: the caller interrupted")
    await expect(call.locator(".waterfall").first.locator("tr")).to_have_count(5)
    await expect(call).to_contain_text(WORDS)
    assert await page.title() == "trunkline: calls"
    shares = (
        await call.locator(".waterfall")
        .first.locator(".bar")
        .evaluate_all("bars => bars.map((bar) => bar.getBoundingClientRect()).map(({ left, right }) => [left, right])")
    )
    assert all(after[0] == pytest.approx(before[1], abs=2.5) for before, after in itertools.pairwise(shares))


async def test_a_recorded_call_can_be_heard(page: Page) -> None:
    await call_link(page, "CAgood").click()
    player = page.locator("#call audio")
    await expect(player).to_be_visible()
    await player.evaluate("audio => audio.play()")
    await page.wait_for_function("() => document.querySelector('#call audio').currentTime > 0.2")
    assert await player.evaluate("audio => audio.duration") == pytest.approx(2.0, abs=0.01)
    await call_link(page, "CAbad").click()
    await expect(page.locator("#call .facts")).to_contain_text("CAbad")
    await expect(player).to_have_count(0)


async def test_failed_calls_can_be_seen_alone(page: Page) -> None:
    await page.get_by_role("button", name="failed").click()
    await expect(page.locator("#calls a")).to_have_count(1)
    await expect(call_link(page, "CAbad")).to_be_visible()
    await page.get_by_role("button", name="all", exact=True).click()
    await expect(call_link(page, "CAgood")).to_be_visible()


async def test_all_of_it_can_be_reached_by_keyboard(page: Page) -> None:
    reached = []
    for _ in range(20):
        await page.keyboard.press("Tab")
        name = await page.evaluate("() => document.activeElement.dataset.call ?? document.activeElement.textContent")
        reached.append(name)
        if name == "CAgood":
            break
    assert reached[:2] == ["all", "failed"]
    assert reached[-1] == "CAgood"
    await page.keyboard.press("Enter")
    await expect(page.locator("#call")).to_contain_text("where is my order")
    await expect(page.locator("#call")).to_be_focused()
    assert page.url.endswith("#call/CAgood")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 900), (360, 740)], ids=["desk", "phone"])
async def test_it_fits_a_phone_and_is_readable_in_both_colours(page: Page, scheme: Any, size: tuple[int, int]) -> None:
    await page.emulate_media(color_scheme=scheme)
    await page.set_viewport_size({"width": size[0], "height": size[1]})
    await call_link(page, "CAgood").click()
    await expect(page.locator("#call .turn")).to_have_count(2)
    assert not await page.evaluate(WIDER_THAN_ITS_WINDOW)
    assert await page.evaluate(WORST_CONTRAST) >= 4.5


WORST_CONTRAST = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const part = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const over = (above, below) => {
    const alpha = above[3] ?? 1;
    return [0, 1, 2].map((at) => above[at] * alpha + below[at] * (1 - alpha));
  };
  const ground = (element) => {
    const own = numbers(getComputedStyle(element).backgroundColor);
    if ((own[3] ?? 1) === 1) return own;
    return over(own, element.parentElement ? ground(element.parentElement) : [255, 255, 255]);
  };
  let worst = 21;
  for (const element of document.querySelectorAll("main *, header *")) {
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!text || !element.checkVisibility() || element.namespaceURI.endsWith("svg")) continue;
    const below = ground(element);
    const [a, b] = [light(over(numbers(getComputedStyle(element).color), below)), light(below)];
    worst = Math.min(worst, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  return worst;
}"""
"""The least contrast of any words with what is behind them; 4.5 is what WCAG asks for."""
