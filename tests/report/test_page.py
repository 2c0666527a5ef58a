"""The page as a file: what is in it, and that nothing that a program says gets out of its place."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from aiotcp import report, waiting
from aiotcp.reasons import Drop, Why
from aiotcp.report.page import MAX_SEGMENTS, asset, columns, page
from aiotcp.trace import explain
from aiotcp.trace.events import Flow, Segment, Trace
from tests.support import traces

MOST_BYTES = 2_000_000
"""For 5,000 segments."""


class Elements(HTMLParser):
    """What a browser sees: elements with attributes, and the text in scripts and the title."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._within = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._within = tag if tag in ("script", "title", "style") else ""
        if self._within:
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within:
            self.texts[self._within][-1] += data


def data_of(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Elements(text).texts["script"][0])
    return found


def test_what_programs_say_stays_data() -> None:
    seen = Elements(page(traces.three()))
    assert seen.texts["title"] == ["A proxy </script> & its server"]
    # The data, the library and ours: no script has ended early, none was added.
    assert [tag for tag, _ in seen.found].count("script") == 3
    data = json.loads(seen.texts["script"][0])
    assert data["title"] == "A proxy </script> & its server"
    assert [text for _, _, text in data["a"]] == [
        "GET </script><b>&amp; @DATA@ @SCRIPT@",
        "502 Bad Gateway",
    ]
    assert not re.search("@[A-Z_]+@", "".join(seen.texts["script"][1:]))


def test_nothing_comes_from_elsewhere() -> None:
    seen = Elements(page(traces.three()))
    for tag, attributes in seen.found:
        for name in ("src", "href", "action", "srcset", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
        assert tag not in ("iframe", "object", "embed", "base")
    for style in seen.texts["style"]:
        assert "url(" not in style
        assert "@import" not in style
    # A namespace is a name; the library says where it comes from.
    scripts = seen.texts["script"][2]
    assert re.findall(r"https?://[^\s\"'`]*", scripts) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|importScripts)\b", scripts)


def test_the_library_comes_with_its_licence() -> None:
    (_, library, _) = Elements(page(traces.three())).texts["script"]
    assert "Leon Sorokin" in library
    assert "Permission is hereby granted" in library


def test_five_thousand_segments_are_within_the_limit() -> None:
    trace = traces.lossy(6_500_000)
    assert len(trace.segments) >= 5000
    assert len(page(trace).encode()) <= MOST_BYTES


def test_all_of_a_trace_is_there() -> None:
    trace = traces.lossy(100_000)
    data = data_of(page(trace))
    assert {len(column) for column in data["p"].values()} == {len(trace.segments)}
    assert {len(column) for column in data["m"].values()} == {len(trace.samples)}
    assert len(data["order"]) == len(trace.events)
    assert data["seed"] == "3"
    assert data["replay"] == "aiotcp run lossy --seed 3"
    last = trace.segments[-1]
    assert data["p"]["seq"][-1] == last.seq
    assert data["words"][data["p"]["why"][-1]] == last.why
    assert data["explain"]["why"]["new_data"] == explain.why()["new_data"]._asdict()


def test_too_many_segments_are_cut_off_and_that_is_said() -> None:
    flows = [Flow("a", "192.0.2.1", 1, "b", "192.0.2.2", 2)]
    made = Trace(hosts=["a", "b"], flows=flows)
    made.events += [
        Segment(float(n), "a", "b", 0, "ACK", n, 0, 1, 1) for n in range(MAX_SEGMENTS + 2)
    ]
    data = columns(made)
    assert len(data["p"]["at"]) == MAX_SEGMENTS
    assert data["notes"] == [
        f"the report holds the first {MAX_SEGMENTS} of {MAX_SEGMENTS + 2} segments"
    ]
    assert made.notes == []


def test_an_empty_trace_has_a_page(tmp_path: Path) -> None:
    file = report.write(Trace(), tmp_path / "report.html")
    assert data_of(file.read_text("utf-8"))["order"] == ""


@pytest.mark.parametrize(
    ("words", "table"), [(Why, explain.why()), (Drop, explain.drops())], ids=["why", "drop"]
)
def test_every_reason_is_explained_and_nothing_else(
    words: type[Why | Drop], table: dict[str, explain.Explanation]
) -> None:
    assert set(table) == {str(word) for word in words}
    for name, entry in table.items():
        assert entry.en.endswith("."), name
        assert entry.zh.endswith("。"), name
        assert re.fullmatch(r"(RFC \d+( \d[\d.]*)?(, RFC \d+( \d[\d.]*)?)*)?", entry.rfc), name
    assert len({entry.en for entry in table.values()}) == len(table)


def test_all_that_a_connection_may_wait_for_is_there_in_chinese() -> None:
    told = set(_strings(ast.parse(inspect.getsource(waiting))))
    assert told >= {"ACK of N bytes", "keep-alive", "either side to send", "nothing"}
    table = re.search(r"WAITS = \{(.*?)\n\};", asset("detail.js"), re.DOTALL)
    assert table is not None
    keys = [key.strip('" ') for key in re.findall(r'("[^"]*"|\b[\w]+): "', table[1])]
    assert sorted(told - set(keys)) == []


def _strings(tree: ast.AST) -> Iterator[str]:
    """All that are no docstrings; what is filled in is N."""
    for part in ast.iter_child_nodes(tree):
        if isinstance(part, ast.JoinedStr):
            pieces = part.values
            yield "".join(str(p.value) if isinstance(p, ast.Constant) else "N" for p in pieces)
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value
        elif not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)):
            yield from _strings(part)
