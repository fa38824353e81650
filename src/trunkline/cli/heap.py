"""What a service is loaded with: all of it before the first call, and for good."""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys

YOUNG = 50_000
"""So many more objects than were let go of, and the young ones are looked through: a few times a minute."""


LATE = {
    "deepgram": ("deepgram.listen.client", "deepgram.listen.v1.client"),
    "httpx": ("httpcore",),
    "numpy": ("numpy.fft", "numpy.ma"),
    "websockets": ("encodings.idna", "websockets.legacy.client", "websockets.sync.client"),
}
"""Modules that these packages load when they are first needed: in the middle of a call."""


def load_late_modules() -> None:
    """Loads now what would be loaded with the first call, and would stop the event loop and all calls for 40 ms.

    Only where the package is loaded already: what is not installed is not needed.
    """
    for module in (module for package in LATE if package in sys.modules for module in LATE[package]):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)


def settle_heap() -> None:
    """Called once all is loaded, before the first call.

    Else a collection of everything stops the event loop, and all calls of the process, for a third of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)
