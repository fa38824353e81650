"""What a service was loaded with stays for good: the garbage collector need not look through it again and again."""

from __future__ import annotations

import gc

YOUNG = 50_000
"""So many more objects than were let go of, and the young ones are looked through: a few times a minute."""


def settle_heap() -> None:
    """Called once all is loaded, before the first call.

    Else a collection of everything stops the event loop, and all calls of the process, for a third of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)
