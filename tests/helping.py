"""The threads that help calls, counted from their start to their end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

_lock = threading.Lock()
_alive = 0


def counting(start: Callable[..., int]) -> Callable[..., int]:
    """Return what starts threads like `start`, and counts them."""
    def add(number: int) -> None:
        global _alive
        with _lock:
            _alive += number

    def begin(function: Callable[..., Any], args: tuple[Any, ...]) -> int:
        def run(*given: Any) -> None:
            try:
                function(*given)
            finally:
                add(-1)

        add(1)
        try:
            return start(run, args)
        except RuntimeError:
            add(-1)
            raise

    return begin


def require_none() -> None:
    """Check that no helper is left, but for the instant in which one ends, or finds it is late."""
    deadline = time.monotonic() + 60
    while _alive:
        assert time.monotonic() < deadline, f"{_alive} helpers are left"
        time.sleep(0.001)
