"""One timer of the loop for everything that has a deadline."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from aiotcp.sim import VirtualLoop, run
from aiotcp.timers import Timed, TimerQueue


class Item:
    def __init__(self, name: str, deadline: float = math.inf) -> None:
        self.name = name
        self.deadline = deadline
        self.armed_at = math.inf

    def next_deadline(self) -> float:
        return self.deadline


class Clock:
    """A queue that writes down what comes due, and what else the item asks for then."""

    def __init__(self, then: Callable[[Item, float], float] = lambda item, now: math.inf) -> None:
        self.loop = asyncio.get_running_loop()
        self.fired: list[tuple[str, float]] = []
        self.then = then
        self.queue = TimerQueue(self.loop, self._due)

    def _due(self, timed: Timed, now: float) -> None:
        assert isinstance(timed, Item)
        self.fired.append((timed.name, now))
        timed.deadline = self.then(timed, now)

    def arm(self, item: Item, deadline: float) -> None:
        item.deadline = deadline
        self.queue.arm(item)


async def test_each_at_its_time() -> None:
    clock = Clock()
    for name, deadline in (("b", 2.0), ("a", 1.0), ("c", 3.0)):
        clock.arm(Item(name), deadline)
    await asyncio.sleep(10)
    assert clock.fired == [("a", 1.0), ("b", 2.0), ("c", 3.0)]
    assert len(clock.queue) == 0


async def test_equal_deadlines_in_the_order_of_arming() -> None:
    clock = Clock()
    for name in "abcd":
        clock.arm(Item(name), 1.0)
    await asyncio.sleep(2)
    assert [name for name, _ in clock.fired] == list("abcd")


async def test_a_deadline_that_moves_away_is_kept_without_a_new_entry() -> None:
    clock = Clock()
    item = Item("a")
    for tenths in range(1, 100):  # put off again and again, as by acknowledgments
        clock.arm(item, tenths / 10 + 1.0)
        assert len(clock.queue) == 1
        await asyncio.sleep(0.1)
    await asyncio.sleep(5)
    assert [(name, round(at, 6)) for name, at in clock.fired] == [("a", 10.9)]


async def test_a_deadline_that_moves_closer_counts() -> None:
    clock = Clock()
    item = Item("a")
    clock.arm(item, 5.0)
    clock.arm(item, 1.0)
    await asyncio.sleep(10)
    assert clock.fired == [("a", 1.0)]


async def test_no_deadline_any_more() -> None:
    clock = Clock()
    item = Item("a")
    clock.arm(item, 1.0)
    clock.arm(item, math.inf)
    await asyncio.sleep(10)
    assert clock.fired == []
    assert len(clock.queue) == 0


async def test_a_periodic_item_arms_itself() -> None:
    clock = Clock(then=lambda item, now: now + 1.0 if now < 5 else math.inf)
    clock.arm(Item("a"), 1.0)
    await asyncio.sleep(20)
    assert [at for _, at in clock.fired] == [1, 2, 3, 4, 5]


async def test_a_deadline_in_the_past_fires_on_the_next_turn() -> None:
    clock = Clock()
    await asyncio.sleep(3)
    clock.arm(Item("a"), 1.0)
    assert clock.fired == []  # never from inside the call
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert clock.fired == [("a", 3.0)]


def test_one_timer_of_the_loop_whatever_the_number_of_items() -> None:
    calls: list[float] = []

    class Counting(VirtualLoop):
        def call_at(  # type: ignore[override]
            self, when: float, callback: Any, *args: Any, context: Any = None
        ) -> asyncio.TimerHandle:
            calls.append(when)
            return super().call_at(when, callback, *args, context=context)

    async def main() -> None:
        clock = Clock()
        for n in range(1000):
            clock.arm(Item(str(n)), 5.0 + n / 1000)

    with asyncio.Runner(loop_factory=Counting) as runner:
        runner.run(main())
    assert calls == [5.0]


async def test_closing_forgets_everything() -> None:
    clock = Clock()
    clock.arm(Item("a"), 1.0)
    clock.queue.close()
    await asyncio.sleep(2)
    assert clock.fired == []
    assert len(clock.queue) == 0


class BusyLoop:
    """A loop by hand: a test says what time it is, and when the timer runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timer: tuple[float, Callable[[], None]] = (math.inf, lambda: None)

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Any:
        self.timer = (when, callback)
        return self

    def cancel(self) -> None:
        self.timer = (math.inf, lambda: None)

    def run_timer(self) -> None:
        self.timer[1]()


def test_a_timer_that_comes_late_lets_the_loop_read_first() -> None:
    loop = BusyLoop()
    fired: list[tuple[str, float]] = []

    def due(timed: Timed, now: float) -> None:
        assert isinstance(timed, Item)
        fired.append((timed.name, now))
        timed.deadline = math.inf

    queue = TimerQueue(cast(Any, loop), due)
    answered, silent = Item("answered", 1.0), Item("silent", 1.1)
    queue.arm(answered)
    queue.arm(silent)
    loop.now = 3.0
    loop.run_timer()
    assert fired == []
    assert 3.0 < loop.timer[0] < 3.01
    answered.deadline = 9.0  # what had arrived meanwhile was read
    loop.now = 5.0  # late again, but not for ever
    loop.run_timer()
    assert fired == [("silent", 5.0)]
    assert loop.timer[0] == 9.0


def test_what_has_arrived_is_looked_at_before_a_timer_is_believed() -> None:
    """Until no more is there, and then at once, however late it is."""
    loop = BusyLoop()
    fired: list[tuple[str, float]] = []
    waiting = [9.0, 8.0]  # the answers that lie unread, one in each batch

    def due(timed: Timed, now: float) -> None:
        assert isinstance(timed, Item)
        fired.append((timed.name, now))
        timed.deadline = math.inf

    def look() -> bool:
        loop.now += 0.25
        answered.deadline = waiting.pop()
        return bool(waiting)

    queue = TimerQueue(cast(Any, loop), due, look=look)
    answered, silent = Item("answered", 1.0), Item("silent", 1.1)
    queue.arm(answered)
    queue.arm(silent)
    loop.now = 3.0
    loop.run_timer()
    assert waiting == []
    assert fired == [("silent", 3.5)]
    assert loop.timer[0] == 9.0


def test_packets_without_end_do_not_keep_a_timer_from_its_time() -> None:
    loop = BusyLoop()
    looks = []
    fired = []

    def look() -> bool:
        looks.append(1)
        return True

    def due(timed: Timed, now: float) -> None:
        fired.append(len(looks))
        cast(Item, timed).deadline = math.inf

    queue = TimerQueue(cast(Any, loop), due, look=look)
    queue.arm(Item("silent", 1.0))
    loop.now = 1.0
    for turn in range(1, 9):  # the loop has its turns in between
        loop.run_timer()
        assert len(looks) == 8 * turn
        assert fired == []
    loop.run_timer()
    assert fired == [72]
    queue.arm(Item("again", 2.0))
    loop.now = 2.0
    loop.run_timer()
    assert len(fired) == 1


async def test_an_exception_does_not_stop_the_others() -> None:
    reports: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reports.append(repr(context["exception"])))

    def then(item: Item, now: float) -> float:
        if item.name == "bad":
            raise LookupError(item.name)
        return math.inf

    clock = Clock(then)
    clock.arm(Item("bad"), 1.0)
    clock.arm(Item("good"), 2.0)
    await asyncio.sleep(5)
    assert clock.fired == [("bad", 1.0), ("good", 2.0)]
    assert reports == ["LookupError('bad')"]


_MOVE = st.tuples(
    st.integers(min_value=0, max_value=4),  # which item
    st.integers(min_value=0, max_value=50),  # tenths of a second until its new deadline; 50: none
    st.integers(min_value=0, max_value=10),  # tenths of a second that pass then
)


@given(st.lists(_MOVE, max_size=40))
def test_whatever_moves_each_fires_at_its_last_deadline(moves: list[tuple[int, int, int]]) -> None:
    """The oracle looks at every deadline every tenth of a second."""

    async def main() -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        clock = Clock()
        items = [Item(str(n)) for n in range(5)]
        deadlines: dict[int, int] = {}
        expected: list[tuple[str, int]] = []
        tenths = 0

        def pass_time(until: int) -> None:
            nonlocal tenths
            while tenths < until:
                tenths += 1
                due = sorted(n for n, at in deadlines.items() if at == tenths)
                expected.extend((str(n), tenths) for n in due)
                for n in due:
                    del deadlines[n]

        for which, ahead, passing in moves:
            if ahead == 50:
                deadlines.pop(which, None)
                clock.arm(items[which], math.inf)
            else:
                deadlines[which] = tenths + ahead + 1
                clock.arm(items[which], (tenths + ahead + 1) / 10)
            pass_time(tenths + passing)
            await asyncio.sleep(tenths / 10 + 0.01 - clock.loop.time())
        pass_time(tenths + 60)
        await asyncio.sleep(6)
        return sorted(expected), sorted((name, round(at * 10)) for name, at in clock.fired)

    expected, fired = run(main())
    assert fired == expected
