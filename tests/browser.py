"""Debian's Chromium, driven by Playwright, for tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, async_playwright

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The SFU under test is on loopback, which a browser leaves out where it has another interface.
    "--allow-loopback-in-peer-connection",
)


@asynccontextmanager
async def open_browser(profile: Path, *flags: str) -> AsyncIterator[BrowserContext]:
    """A browser with a new profile; without Chromium the test is skipped, or fails where servers are required."""
    program = shutil.which("chromium")
    if program is None:
        if os.environ.get("TRUNKLINE_REQUIRE_SERVERS") == "1":
            pytest.fail("chromium is not installed; make browser")
        pytest.skip("chromium is not installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch_persistent_context(
            profile, executable_path=program, headless=True, args=[*FLAGS, *flags], timeout=30_000
        )
        try:
            yield browser
        finally:
            await browser.close()
