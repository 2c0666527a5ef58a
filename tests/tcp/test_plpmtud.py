"""The estimate of a path's MTU, with numbers alone (RFC 4821, RFC 8899), and what a stack keeps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.tcp.plpmtud import BLACK_HOLE_TIMEOUTS, MAX_PROBES, PathMtu
from aiotcp.tcp.pmtucache import Known, PathMtuCache

LIFETIME = 600.0


def search(found: PathMtu, path: int, now: float = 0.0) -> list[int]:
    """Probe until the search has converged on a path that carries `path`: the sizes tried."""
    tried = []
    while size := found.next_probe:
        tried.append(size)
        found.probing = size
        if size <= path:
            found.on_probe_delivered(now, LIFETIME)
        else:
            found.on_probe_lost(now, 1.0, LIFETIME)
        assert len(tried) < 100
    return tried


def black_hole(found: PathMtu, path: int) -> int:
    """Full-sized packets time out until they pass: how many timeouts that takes."""
    timeouts = 0
    while found.mtu > path:
        timeouts += 1
        found.on_timeout(timeouts, found.mtu)
        assert timeouts < 10
    return timeouts


def fresh(*, ceiling: int = 1500, floor: int = 552, searching: bool = False) -> PathMtu:
    return PathMtu(ceiling=ceiling, floor=floor, base=1200, searching=searching)


@pytest.mark.req("4821-3")
def test_the_constants_are_those_of_the_rfc() -> None:
    assert MAX_PROBES == 3
    assert PathMtu(ceiling=1500, floor=1280, base=1200).base == 1280


def test_it_begins_at_the_ceiling_or_at_the_base() -> None:
    """RFC 4821 7.2: eff_pmtu at search_high is classical discovery, below it is a choice."""
    assert fresh().mtu == 1500
    assert fresh().next_probe == 0
    assert fresh(searching=True).mtu == 1200
    assert fresh(searching=True).next_probe == 1500
    assert fresh(ceiling=800, searching=True).mtu == 800
    assert fresh(ceiling=800, searching=True).next_probe == 0


def test_a_path_that_carries_all_costs_one_probe() -> None:
    found = fresh(searching=True)
    assert search(found, 1500) == [1500]
    assert found.mtu == 1500
    assert found.raise_at == math.inf


@pytest.mark.req("4821-3")
@pytest.mark.parametrize("path", [1280, 1300, 1340, 1399, 1400, 1420, 1480, 1492, 1499])
def test_a_smaller_path_is_found_to_within_three_percent(path: int) -> None:
    found = fresh(searching=True)
    tried = search(found, path)
    assert path * 0.97 <= found.mtu <= path
    assert len([size for size in tried if size > path]) <= 4 * MAX_PROBES
    assert not found.searching
    assert found.raise_at == LIFETIME


@pytest.mark.req("4821-3")
def test_a_size_is_given_up_after_three_probes() -> None:
    """RFC 8899 5.3.1: PROBE_COUNT reaches MAX_PROBES; a delivered probe begins the count anew."""
    found = fresh(searching=True)
    assert search(found, 1400) == [1500, 1280, 1400, 1420, 1420, 1420]
    assert found.high == 1419


@pytest.mark.req("4821-1")
def test_a_probe_lost_among_others_says_nothing() -> None:
    """RFC 4821 7.6.4: the variables "SHOULD NOT be updated", and the same size is tried again."""
    found = fresh(searching=True)
    for _ in range(5):
        found.probing = 1500
        found.on_probe_lost(7, 2.0, LIFETIME, sure=False)
    assert found.next_probe == 1500
    assert found.failures == 0
    assert found.ready_at == 9


@pytest.mark.req("4821-2")
def test_a_black_hole_is_found_after_two_timeouts_and_a_false_one_costs_one_probe() -> None:
    found = fresh()
    found.on_delivered(1500)
    assert black_hole(found, 1280) == BLACK_HOLE_TIMEOUTS
    assert found.mtu == 1200
    assert search(found, 1500) == [1500]
    assert found.mtu == 1500


@pytest.mark.req("4821-2")
def test_what_timed_out_needs_one_failed_probe_only() -> None:
    found = fresh()
    black_hole(found, 1280)
    tried = search(found, 1280)
    assert tried.count(1500) == 1
    assert tried[:2] == [1500, 1280]
    assert found.mtu == 1280


@pytest.mark.req("4821-2")
@pytest.mark.parametrize("path", [1100, 700, 600, 552])
def test_a_path_below_the_base_takes_further_timeouts(path: int) -> None:
    """RFC 4821 7.7: "search_low and eff_pmtu SHOULD be halved, with a lower bound"."""
    found = fresh()
    assert black_hole(found, path) <= 6
    search(found, path)
    assert path * 0.97 <= found.mtu <= path


@pytest.mark.req("4821-2")
def test_ipv6_does_not_fall_below_its_least_mtu() -> None:
    found = fresh(floor=1280)
    for timeouts in range(1, 8):
        found.on_timeout(timeouts, found.mtu)
    assert found.mtu == 1280


@pytest.mark.req("4821-2")
def test_small_packets_that_time_out_are_no_black_hole() -> None:
    found = fresh()
    for timeouts in range(1, 8):
        assert not found.on_timeout(timeouts, 1200)
    assert found.mtu == 1500


@pytest.mark.req("1191-3", "4821-3")
def test_the_search_begins_anew_when_the_timer_expires() -> None:
    """RFC 4821 7.3: "search_high should be reset to its initial value"."""
    found = fresh()
    found.on_report(1400, 100, LIFETIME)
    assert (found.mtu, found.next_probe, found.raise_at) == (1400, 0, 700)
    found.raise_again(700)
    assert search(found, 1492, 700) == [1500, 1420, 1440, 1460, 1480, 1492] + [1500] * 3
    assert (found.mtu, found.raise_at) == (1492, 1300)


def test_a_report_bounds_the_search() -> None:
    found = fresh()
    black_hole(found, 1400)
    found.limit_search(1400, 0, LIFETIME)
    assert search(found, 1400) == [1400]
    assert found.raise_at == LIFETIME


def test_a_report_below_what_is_in_use_is_no_bound_of_the_search() -> None:
    found = fresh()
    black_hole(found, 1400)
    found.limit_search(1000, 0, LIFETIME)
    assert found.next_probe == 1500


events = st.lists(
    st.one_of(
        st.tuples(st.just("deliver"), st.integers(40, 9000)),
        st.tuples(st.just("timeout"), st.integers(1, 6)),
        st.tuples(st.just("report"), st.integers(0, 9000)),
        st.tuples(st.just("bound"), st.integers(0, 9000)),
        st.tuples(st.just("raise"), st.just(0)),
        st.tuples(st.just("probe"), st.integers(0, 2)),
    ),
    max_size=40,
)


@pytest.mark.req("4821-1", "4821-3")
@given(st.integers(1280, 9000), st.booleans(), events)
def test_whatever_happens_the_sizes_stay_in_order(
    ceiling: int, searching: bool, what: list[tuple[str, int]]
) -> None:
    """RFC 4821 7.1: a probe is larger than search_low and not above search_high; and every search
    ends."""
    found = fresh(ceiling=ceiling, searching=searching)
    for name, number in what:
        if name == "deliver":
            found.on_delivered(min(number, found.mtu))
        elif name == "timeout":
            found.on_timeout(number, found.mtu)
        elif name == "report" and number < found.mtu:
            found.on_report(number, 0, LIFETIME)
        elif name == "bound":
            found.limit_search(number, 0, LIFETIME)
        elif name == "raise":
            found.raise_again(0)
        elif name == "probe" and (size := found.next_probe):
            assert found.low < size <= found.high
            found.probing = size
            if number == 0:
                found.on_probe_delivered(0, LIFETIME)
            else:
                found.on_probe_lost(0, 1, LIFETIME, sure=number == 1)
        assert 552 <= found.low <= found.mtu <= ceiling
        assert found.high <= ceiling
        assert found.acked <= found.mtu
        assert found.next_probe == 0 or found.next_probe > found.mtu
    search(found, found.mtu)


# -- the stack's table ----------------------------------------------------------------------------


def cache(limit: int = 3) -> tuple[PathMtuCache, list[None]]:
    evicted: list[None] = []
    return PathMtuCache(limit, lambda: evicted.append(None)), evicted


@pytest.mark.req("1191-3")
def test_entries_expire() -> None:
    paths, _ = cache()
    known = Known(1400, 10.0, False)
    paths.learn(b"a", known)
    assert paths.find(b"a", 9.9) is known
    assert paths.find(b"a", 10.0) is None
    assert len(paths) == 0


def test_the_least_recently_learned_gives_way() -> None:
    paths, evicted = cache()
    for name in (b"a", b"b", b"c", b"a", b"d"):
        paths.learn(name, Known(1400, 10.0, False))
    assert len(evicted) == 1
    assert [paths.find(name, 0) is not None for name in (b"a", b"b", b"c", b"d")] == [
        True, False, True, True,
    ]  # fmt: skip


def test_changes_are_noticed_and_forgetting_is_none() -> None:
    paths, _ = cache()
    paths.learn(b"a", Known(1400, 10.0, False))
    seen = paths.changes
    paths.forget(b"a")
    paths.forget(b"b")
    assert paths.changes == seen
    assert paths.find(b"a", 0) is None
    paths.learn(b"a", Known(1300, 10.0, True))
    assert paths.changes != seen
