"""What is consumed behind the one who makes it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mrcz import behind
from mrcz.behind import run_behind

from . import helping


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    yield
    helping.require_none()


def test_in_order_and_in_another_thread() -> None:
    found: list[int] = []
    threads: set[int] = set()

    def consume(item: int) -> None:
        threads.add(threading.get_ident())
        found.append(item)

    run_behind(iter(range(300)), consume)
    assert found == [*range(300)]
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_nothing_to_do() -> None:
    run_behind(iter(()), pytest.fail)


def test_one_is_made_while_one_is_consumed_and_no_more() -> None:
    consumed: list[int] = []
    apart: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            apart.append(number - len(consumed))
            yield number

    def consume(item: int) -> None:
        time.sleep(0.002)
        consumed.append(item)

    run_behind(items(), consume)
    assert max(apart) <= 1
    assert consumed == [*range(20)]


def test_an_error_of_the_one_who_makes() -> None:
    found: list[int] = []

    def items() -> Iterator[int]:
        yield 1
        raise ValueError("made no more")

    with pytest.raises(ValueError, match="made no more"):
        run_behind(items(), found.append)
    assert found == [1]


@pytest.mark.parametrize("bad", [0, 2, 4])
def test_an_error_of_the_one_who_consumes(bad: int) -> None:
    found: list[int] = []

    def consume(item: int) -> None:
        if item == bad:
            raise OSError("full")
        found.append(item)

    with pytest.raises(OSError, match="full"):
        run_behind(iter(range(5)), consume)
    assert found == [*range(bad)]


@pytest.mark.parametrize("how", ["refused", "never runs"])
def test_without_a_thread_it_is_done_in_turns(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(function: Any, args: Any) -> int:
        if how == "refused":
            raise RuntimeError("can't start new thread")
        return 1

    monkeypatch.setattr(behind, "start_new_thread", start)
    monkeypatch.setattr(behind, "LATE_SECONDS", 0.05)
    found: list[int] = []
    run_behind(iter(range(5)), found.append)
    assert found == [*range(5)]


def test_one_that_begins_late_has_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    start, found = behind.start_new_thread, list[tuple[int, int]]()

    def late(function: Any, args: Any) -> int:
        return start(lambda *given: (time.sleep(0.1), function(*given)), args)  # type: ignore

    monkeypatch.setattr(behind, "start_new_thread", late)
    monkeypatch.setattr(behind, "LATE_SECONDS", 0.01)
    run_behind(iter(range(3)), lambda item: found.append((item, threading.get_ident())))
    assert found == [(number, threading.get_ident()) for number in range(3)]


@pytest.mark.parametrize("delay", [0.0, 0.0005, 0.003, 0.02])
def test_an_interrupt_ends_both(delay: float) -> None:
    """It waits for what is consumed at that moment, and for no more."""
    consumed: list[int] = []

    def consume(item: int) -> None:
        time.sleep(0.002)
        consumed.append(item)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    try:
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            run_behind(iter(range(100_000)), consume)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    count = len(consumed)
    helping.require_none()
    assert len(consumed) == count
    assert consumed == [*range(count)]


def test_an_interrupt_in_the_wait_for_the_end_is_followed_by_another_wait() -> None:
    """Who has the lock of a thread that has ended must not wait for it once more."""
    follower = behind._Follower(lambda item: None)
    follower.begin()
    follower.take(1)
    follower.settle()
    follower.end()
    assert follower._done is not None
    assert not follower._done.locked()
    follower.end()
