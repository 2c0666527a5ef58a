"""The page: the trace as columns of JSON, the scripts that draw it, and uPlot, in one file."""

from __future__ import annotations

import base64
import html
import json
import re
from importlib.resources import files
from typing import Any

from aiotcp.trace import explain, phrases
from aiotcp.trace.events import Fault, Said, Sample, Segment, State, Trace
from aiotcp.trace.lanes import lanes

MAX_SEGMENTS = 20_000
"""What a browser still draws at once; a report of more holds the first so many."""

SCRIPTS = ("model.js", "ladder.js", "sequence.js", "plots.js", "detail.js", "report.js")
"""In the order in which they are loaded; together they are one script."""


def page(trace: Trace) -> str:
    """The whole of the file."""
    data = json.dumps(columns(trace), ensure_ascii=False, separators=(",", ":"))
    # In a script element only `<` could end it.
    return fill("report.html", TITLE=trace.title or "TCP trace", DATA=data.replace("<", "\\u003c"))


def fill(template: str, *, TITLE: str, DATA: str = "", **more: str) -> str:
    """A template of `assets`, with the scripts, the styles and uPlot in it."""
    parts = {
        "TITLE": html.escape(TITLE),
        "UPLOT_CSS": asset("uPlot.min.css"),
        "CSS": asset("report.css"),
        "UPLOT": asset("uPlot.iife.min.js"),
        "LICENSE": asset("uPlot.LICENSE"),
        "DATA": DATA,
        "SCRIPT": "\n".join(asset(name) for name in SCRIPTS),
        **more,
    }
    whole = asset(template).replace("@MAIN@", asset("main.html"))
    return re.sub("@([A-Z_]+)@", lambda found: parts[found[1]], whole)


def asset(name: str) -> str:
    return files("aiotcp.report").joinpath("assets", name).read_text("utf-8")


def columns(trace: Trace) -> dict[str, Any]:
    """The trace as the script takes it: a list for each attribute, names as numbers."""
    words = _Words()
    hosts = {name: n for n, name in enumerate(trace.hosts)}
    segments: list[Segment] = []
    order: list[str] = []
    states: list[list[Any]] = []
    said: list[list[Any]] = []
    faults: list[list[Any]] = []
    notes = list(trace.notes)
    for event in trace.events:
        if isinstance(event, Segment):
            if len(segments) == MAX_SEGMENTS:
                count = len(trace.segments)
                notes.append(f"the report holds the first {MAX_SEGMENTS} of {count} segments")
                break
            order.append("p")
            segments.append(event)
        elif isinstance(event, State):
            order.append("s")
            states.append(
                [_time(event.at), hosts[event.host], event.flow, event.old, event.new, event.error]
            )
        elif isinstance(event, Said):
            order.append("a")
            said.append([_time(event.at), hosts.get(event.host, 0), event.text])
        elif isinstance(event, Fault):
            order.append("f")
            until = _time(event.until)
            faults.append([_time(event.at), hosts.get(event.host, -1), event.text, until])
    chinese = phrases.translations([*notes, *(row[2] for row in (*said, *faults))])
    if trace.title_zh:
        chinese[trace.title] = trace.title_zh
    samples = trace.samples
    if len(notes) > len(trace.notes):
        samples = [sample for sample in samples if sample.at <= segments[-1].at]
    return {
        "title": trace.title,
        "seed": trace.seed,
        "replay": trace.replay,
        "epoch": trace.epoch,
        "notes": notes,
        "question": trace.question,
        "answer": trace.answer,
        "chinese": chinese,
        "hosts": trace.hosts,
        "lanes": [[hosts[host] for host in lane] for lane in lanes(trace.hosts, trace.flows)],
        "flows": [
            {
                "name": str(flow),
                "client": flow.client,
                "server": flow.server,
                "ends": flow.ends,
            }
            for flow in trace.flows
        ],
        "order": "".join(order),
        "p": _segments(segments, hosts, words),
        "s": states,
        "a": said,
        "f": faults,
        "m": _samples(samples, hosts, words),
        "words": words.known,
        "explain": {
            "why": _explained(explain.why(), {segment.why for segment in segments}),
            "drop": _explained(explain.drops(), {segment.dropped for segment in segments}),
        },
    }


def _segments(segments: list[Segment], hosts: dict[str, int], words: _Words) -> dict[str, Any]:
    return {
        "at": [_time(segment.at) for segment in segments],
        "from": [hosts[segment.sender] for segment in segments],
        "to": [hosts[segment.receiver] for segment in segments],
        "flow": [segment.flow for segment in segments],
        "flags": [words(segment.flags) for segment in segments],
        "seq": [segment.seq for segment in segments],
        "ack": [segment.ack for segment in segments],
        "win": [segment.window for segment in segments],
        "len": [segment.length for segment in segments],
        "opt": [" ".join(segment.options) for segment in segments],
        "why": [words(segment.why) for segment in segments],
        "fate": [words(segment.fate) for segment in segments],
        "drop": [words(segment.dropped) for segment in segments],
        "ecn": [words(segment.ecn) for segment in segments],
        "again": [int(segment.again) for segment in segments],
        "came": [_time(segment.arrived[0]) if segment.arrived else None for segment in segments],
        "head": [base64.b64encode(bytes.fromhex(s.header)).decode() for s in segments],
    }


def _samples(samples: list[Sample], hosts: dict[str, int], words: _Words) -> dict[str, Any]:
    return {
        "at": [_time(sample.at) for sample in samples],
        "host": [hosts[sample.host] for sample in samples],
        "flow": [sample.flow for sample in samples],
        "cwnd": [sample.cwnd for sample in samples],
        "ssthresh": [sample.ssthresh for sample in samples],
        "flight": [sample.in_flight for sample in samples],
        "snd_wnd": [sample.snd_wnd for sample in samples],
        "rcv_wnd": [sample.rcv_wnd for sample in samples],
        "srtt": [_time(sample.srtt) for sample in samples],
        "rttvar": [_time(sample.rttvar) for sample in samples],
        "rto": [_time(sample.rto) for sample in samples],
        "waits": [words(sample.waits) for sample in samples],
        "until": [_time(sample.until) for sample in samples],
    }


def _explained(known: dict[str, explain.Explanation], used: set[str]) -> dict[str, dict[str, str]]:
    return {name: known[name]._asdict() for name in sorted(used & known.keys())}


def _time(seconds: float | None) -> float | None:
    """To the tenth of a microsecond: finer than anything that is shown, and half as long."""
    return None if seconds is None else round(seconds, 7)


class _Words:
    """Each word once; calling gives its number."""

    def __init__(self) -> None:
        self.known: list[str] = []
        self._numbers: dict[str, int] = {}

    def __call__(self, word: str) -> int:
        number = self._numbers.get(word)
        if number is None:
            number = self._numbers[word] = len(self.known)
            self.known.append(word)
        return number
