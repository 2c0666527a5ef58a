"""The page in a browser: that it can be used, and says what it should. The pictures that are taken
are for people to look at: the fixture `picture` says where they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aiotcp import report
from aiotcp.scenario.model import find
from aiotcp.scenario.player import play
from aiotcp.trace.events import State, Trace
from tests.support import traces
from tests.support.chromium import Chromium, Page
from tests.support.netns import loopback as loopback


@pytest.fixture
def show(chromium: Chromium, tmp_path: Path) -> Callable[[Trace], Page]:
    """The page of a trace, opened."""

    def opened(trace: Trace) -> Page:
        file = report.write(trace, tmp_path / "report.html")
        page = chromium.open(file.as_uri())
        page.until("document.documentElement.dataset.ready")
        return page

    return opened


def row_of(page: Page, condition: str) -> str:
    """An expression for the ladder's row of the first segment for which `condition` of `s` holds,
    scrolled to where it can be clicked."""
    index = page.run(
        f"""(() => {{
            const n = ladder.rows.findIndex(([kind, at]) => {{
                if (kind !== "p") return false;
                const s = segment(at);
                return {condition};
            }});
            document.getElementById("rows").scrollTop = Math.max(n - 5, 0) * 24;
            showRows();
            return n;
        }})()"""
    )
    assert index >= 0
    return f"document.getElementById('row-{index}')"


def detail(page: Page) -> str:
    found: str = page.run("document.getElementById('detail').innerText")
    return found


def test_a_click_on_a_segment_shows_its_reason_and_its_header(
    show: Callable[[Trace], Page],
) -> None:
    page = show(traces.lossy(300_000))
    page.click_on(row_of(page, 's.why === "fast_retransmit"'))
    told = detail(page)
    assert "fast_retransmit" in told
    assert "repeated without waiting for a timer" in told
    assert "RFC 5681 3.2, RFC 8985" in told
    assert "0000  45 00" in told
    assert "cwnd" in told
    page.press("Escape")
    assert page.run("document.getElementById('detail').hidden")
    assert page.errors == []


def test_a_click_in_the_graph_chooses_the_segment_there(show: Callable[[Trace], Page]) -> None:
    page = show(traces.lossy(300_000))
    x, y = page.run(
        """(() => {
            const box = plots.seq.over.getBoundingClientRect(), one = sequence().data[40];
            return [box.x + plots.seq.valToPos(one.at, "x"),
                    box.y + plots.seq.valToPos((one.low + one.high) / 2, "y")];
        })()"""
    )
    page.move(x, y)
    assert "new_data" in page.run("document.getElementById('tip').innerText")
    page.click(x, y)
    kind, index = page.run("view.chosen")
    assert kind == "p"
    assert abs(index - page.run("sequence().data[40].n")) <= 3  # others are as near
    assert "new_data" in detail(page)
    assert page.run("document.querySelectorAll('.row.chosen').length") == 1
    assert page.errors == []


def test_states_what_programs_said_and_faults_can_be_chosen(show: Callable[[Trace], Page]) -> None:
    page = show(traces.three())
    for kind, words in (("s", "SYN-SENT"), ("a", "GET </script>"), ("f", "partition")):
        page.click_on(f"document.querySelector('.row.{kind}')")
        assert words in detail(page)
    assert "1.200000" in detail(page)
    assert page.errors == []


def test_a_discarded_segment_says_why(show: Callable[[Trace], Page]) -> None:
    page = show(traces.three())
    page.click_on(row_of(page, 's.drop === "tcp_checksum"'))
    assert "something changed on the way" in detail(page)
    # The plots show the connection of what was chosen.
    assert page.run("document.getElementById('which').innerText").startswith("proxy:50001")
    assert page.errors == []


def test_finding_and_going_from_trouble_to_trouble(show: Callable[[Trace], Page]) -> None:
    trace = traces.lossy(300_000)
    page = show(trace)
    page.run("document.getElementById('find').focus()")
    for letter in "retransmit":
        page.press(letter)
    again = sum(segment.again for segment in trace.segments)
    assert again
    assert page.run("ladder.rows.length") == again
    page.press("Escape")
    page.press("ArrowDown")
    assert page.run("segment(view.chosen[1]).again") == 1
    page.run("view.find = find.value = ''; layoutLadder(); choose(null)")
    page.press("n")
    assert page.run("segment(view.chosen[1]).fate") == "lost"
    assert page.errors == []


def test_zoom_is_shared_and_undone(show: Callable[[Trace], Page]) -> None:
    page = show(traces.lossy(300_000))
    spans = "Object.values(plots).map((u) => [u.scales.x.min, u.scales.x.max])"
    before = page.run(spans)
    page.press("+")
    (one, *others) = page.run(spans)
    assert all(other == one for other in others)
    assert one[1] - one[0] == pytest.approx((before[0][1] - before[0][0]) / 2)
    page.click_on("document.getElementById('whole')")
    assert page.run(spans) == before
    assert page.errors == []


def test_keys_take_lines_away_and_a_wide_window_is_not_shown_at_first(
    show: Callable[[Trace], Page],
) -> None:
    page = show(traces.lossy(300_000))
    pressed = "document.querySelector('.entry[data-name={}]').getAttribute('aria-pressed')"
    assert page.run(pressed.format("rcv")) == "false"
    narrow = page.run("plots.win.scales.y.max")
    page.click_on("document.querySelector('.entry[data-name=rcv]')")
    assert page.run(pressed.format("rcv")) == "true"
    page.until(f"plots.win.scales.y.max > {narrow * 2}")
    page.click_on("document.querySelector('.entry[data-name=cwnd]')")
    assert not page.run("plots.win.series[1].show")
    assert page.errors == []


def test_a_graph_has_keys_and_numbers_for_what_is_in_it(show: Callable[[Trace], Page]) -> None:
    whole = traces.lossy(1000, 0.0)
    begun = [Trace(whole.hosts, whole.flows, whole.events[:count], title="SYN") for count in (1, 5)]
    keys = "[...document.querySelectorAll('#key-seq .entry:not([hidden])')]"
    shown = f"{keys}.map((entry) => entry.dataset.name)"
    numbers = "plots.seq.axes[1]._values"
    page = show(begun[1])
    assert page.run(shown) == ["seg", "ack", "wnd"]
    page = show(begun[0])
    assert page.run(shown) == ["seg"]
    told = [number for number in page.run(numbers) if number]
    assert len(told) >= 2
    assert all(number.isdigit() for number in told), "of bytes there are whole ones, and from zero"
    assert page.run("plots.rtt.blank[0]") == "no round trip was measured"
    assert page.run("plots.seq.blank") is None
    assert page.errors == []


def test_a_scenario_asks_its_question_and_answers_it(show: Callable[[Trace], Page]) -> None:
    trace = traces.lossy(1000, 0.0)
    asked, answered = {"en": "Why?", "zh": "为什么？"}, {"en": "For\nthis.", "zh": "因为\n这个。"}
    story = "document.getElementById('story')"
    assert show(trace).run(f"{story}.hidden")
    page = show(replace(trace, question=asked, answer=answered))
    assert page.run(f"{story}.innerText") == "Why?"
    page.click_on(f"{story}.firstElementChild")
    assert page.run(f"{story}.lastElementChild.innerText") == "For this."
    page.click_on("document.getElementById('language')")
    assert page.run(f"{story}.innerText").split() == ["为什么？", "因为这个。"]
    assert page.errors == []


def test_the_graphs_share_the_height_of_the_window(show: Callable[[Trace], Page]) -> None:
    page = show(traces.lossy(300_000))
    plots = "document.getElementById('plots')"
    for height in (900, 1400):
        page.resize(1500, height)
        page.until(
            f"{plots}.clientHeight > {height} - 100 && {plots}.scrollHeight == {plots}.clientHeight"
            f" && {plots}.lastElementChild.getBoundingClientRect().bottom > {height} - 40"
        )
    assert page.errors == []


def test_what_a_connection_waits_for_is_told_in_chinese(show: Callable[[Trace], Page]) -> None:
    page = show(traces.lossy(1000, 0.0))
    page.click_on("document.getElementById('language')")
    told = page.run("['end of 2MSL', 'ACK of 7 bytes', 'nothing'].map(waitsFor)")
    assert told == ["2MSL 结束", "对 7 字节的确认", "无"]


def test_what_is_told_bit_by_bit_is_kept_within_bounds(show: Callable[[Trace], Page]) -> None:
    """As the live page has it: `take` adds, `keep` forgets the oldest."""
    trace = traces.lossy(300_000)
    page = show(trace)
    page.click_on(row_of(page, "s.n === 0"))
    last = page.run("D.p.at[D.p.at.length - 1]")
    cut = page.run("keep(50)")
    assert page.run("D.p.at.length") == 50
    assert page.run("D.order.split('p').length - 1") == 50
    assert page.run("D.m.at.every((at) => at >= D.p.at[0])")
    assert page.run("D.p.at[49]") == last
    assert cut > 50
    assert page.run("view.chosen") is None
    page.run("whole()")
    assert page.run("keep(50)") == 0
    assert page.run("ladder.rows.filter(([kind]) => kind === 'p').length") == 50
    # What each side was in has not ended with the row that said it.
    before = trace.events[: trace.events.index(trace.segments[-50])]
    entered = {event.host: event.new for event in before if isinstance(event, State)}
    states = page.run("[0, 1].map((host) => statesOf(host, 0)[0].state)")
    assert states == [entered[host] for host in trace.hosts]
    assert page.errors == []


def test_each_control_has_a_name(show: Callable[[Trace], Page]) -> None:
    page = show(traces.lossy(300_000))
    page.click_on(row_of(page, "s.len > 0"))
    tree = page.send("Accessibility.getFullAXTree")["nodes"]
    controls: list[tuple[str, Any]] = [
        (node["role"]["value"], node.get("name", {}).get("value"))
        for node in tree
        if not node.get("ignored")
        and node["role"]["value"]
        in ("button", "combobox", "searchbox", "listbox", "option", "region")
    ]
    assert {role for role, _ in controls} >= {"button", "combobox", "searchbox", "listbox"}
    assert [role for role, name in controls if not name] == []


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_in_both_languages(
    chromium: Chromium, tmp_path: Path, scheme: str, language: str
) -> None:
    file = report.write(traces.lossy(300_000), tmp_path / "report.html")
    page = chromium.open("about:blank")
    page.prefer(scheme)
    page.go(file.as_uri())
    page.until("document.documentElement.dataset.ready")
    if language == "zh":
        page.click_on("document.getElementById('language')")
        assert "时间" in page.run("document.getElementById('plots').innerText")
    page.click_on(row_of(page, 's.fate === "lost"'))
    assert page.run("document.documentElement.dataset.theme") == scheme
    back = page.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(json.loads(back.replace("rgb(", "[").replace(")", "]"))) > 380) == (
        scheme == "light"
    )
    page.screenshot(tmp_path / f"{scheme}-{language}.png")
    assert (tmp_path / f"{scheme}-{language}.png").stat().st_size > 20_000
    assert page.errors == []


def test_a_scenario_in_chinese(show: Callable[[Trace], Page]) -> None:
    trace = play(find("crash-reboot"))
    trace.notes.append("3 more events were left out")
    page = show(trace)
    words = (
        "document.body.innerText + Array.from(document.querySelectorAll('[title]'), (e) => e.title)"
    )
    assert "crashes" in page.run(words)
    page.click_on("document.getElementById('language')")
    told = page.run(words)
    assert find("crash-reboot").title["zh"] in told
    assert page.run("document.title") == find("crash-reboot").title["zh"]
    for english, chinese in (("crashes", "崩溃"), ("connected", "已连接"), ("left out", "未收录")):
        assert english not in told
        assert chinese in told
    page.click_on("document.querySelector('.row.f')")
    assert "崩溃" in detail(page)
    assert page.run("document.getElementById('plots').ariaLabel") == "曲线图"
    # What is looked for may be in either language.
    for words in ("崩溃", "crashes"):
        page.run(f"view.find = '{words}'; layoutLadder()")
        assert page.run("ladder.rows.length") == 1
    assert page.errors == []


def test_lanes_are_shared_and_one_connection_has_its_own(show: Callable[[Trace], Page]) -> None:
    page = show(traces.dual())
    heads = "Array.from(document.querySelectorAll('#lanes span'), (e) => e.innerText)"
    numbers = "Array.from(document.querySelectorAll('.row .of'), (e) => e.innerText)"
    assert page.run(heads) == ["192.0.2.1\n2001:db8::1", "192.0.2.2\n2001:db8::2"]
    assert page.run(numbers) == ["1", "2"]
    assert page.run("document.getElementById('flow').options[2].text").startswith("2")
    page.run("flow.value = 1; flow.dispatchEvent(new Event('change'))")
    assert page.run(heads) == ["2001:db8::1", "2001:db8::2"]
    assert page.run(numbers) == []
    assert page.errors == []


def test_words_that_are_also_those_of_javascript(show: Callable[[Trace], Page]) -> None:
    trace = traces.three()
    trace.title = "constructor"
    page = show(trace)
    page.click_on("document.getElementById('language')")
    assert page.run("document.getElementById('title').innerText") == "constructor"
    assert page.errors == []


TRACES: dict[str, Callable[[], Trace]] = {
    "empty": Trace,
    "tiny": lambda: traces.lossy(1000, 0.0),
    "three": traces.three,
    "large": lambda: traces.lossy(6_500_000),
}


@pytest.mark.parametrize("size", [(1500, 1000), (420, 900)], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", TRACES)
def test_whatever_the_trace_and_the_window(
    show: Callable[[Trace], Page], name: str, size: tuple[int, int], tmp_path: Path
) -> None:
    page = show(TRACES[name]())
    page.resize(*size)
    page.press("End")
    page.press("n")
    page.press("+")
    page.press("ArrowRight")
    page.screenshot(tmp_path / f"{name}-{size[0]}.png")
    # The page draws anew a moment after its window has changed.
    page.until(f"document.documentElement.scrollWidth <= {size[0]}")
    print(f"{name}: usable after {page.run('document.documentElement.dataset.ready')} ms")
    assert page.errors == []
