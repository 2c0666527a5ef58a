"""The page: the trace as columns of JSON, the script that draws it, and uPlot, in one file."""

from __future__ import annotations

import html
import json
from importlib.resources import files
from typing import Any

from aiotcp.trace.events import Fault, Said, Segment, State, Trace
from aiotcp.trace.explain import why

MAX_SEGMENTS = 20_000
"""What a browser still draws at once; a report of more holds the first so many."""


def page(trace: Trace) -> str:
    """The whole of the file."""
    assets = files("aiotcp.report").joinpath("assets")

    def asset(name: str) -> str:
        return assets.joinpath(name).read_text("utf-8")

    data = json.dumps(columns(trace), ensure_ascii=False, separators=(",", ":"))
    # In a script element only `<` could end it.
    parts = {
        "TITLE": html.escape(trace.title or "TCP trace"),
        "UPLOT_CSS": asset("uPlot.min.css"),
        "CSS": asset("report.css"),
        "UPLOT": asset("uPlot.iife.min.js"),
        "LICENSE": asset("uPlot.LICENSE").replace("*/", ""),
        "DATA": data.replace("<", "\\u003c"),
        "SCRIPT": "\n".join(asset(name) for name in SCRIPTS),
    }
    whole = asset("report.html")
    for name, text in parts.items():
        whole = whole.replace(f"@{name}@", text)
    return whole


SCRIPTS = ("model.js", "ladder.js", "plots.js", "report.js")


def columns(trace: Trace) -> dict[str, Any]:
    """The trace as the script takes it: a list for each attribute, names as numbers."""
    words = _Words()
    hosts = {name: n for n, name in enumerate(trace.hosts)}
    segments: list[Segment] = []
    order: list[tuple[str, int]] = []
    states: list[list[Any]] = []
    said: list[list[Any]] = []
    faults: list[list[Any]] = []
    notes = list(trace.notes)
    for event in trace.events:
        if isinstance(event, Segment):
            if len(segments) == MAX_SEGMENTS:
                notes.append(f"the report holds the first {MAX_SEGMENTS} segments")
                break
            order.append(("p", len(segments)))
            segments.append(event)
        elif isinstance(event, State):
            order.append(("s", len(states)))
            states.append(
                [event.at, hosts[event.host], event.flow, event.old, event.new, event.error]
            )
        elif isinstance(event, Said):
            order.append(("a", len(said)))
            said.append([event.at, hosts.get(event.host, 0), event.text])
        elif isinstance(event, Fault):
            order.append(("f", len(faults)))
            faults.append([event.at, hosts.get(event.host, -1), event.text, event.until])
    explained = why()
    used = {segment.why for segment in segments}
    return {
        "title": trace.title,
        "seed": trace.seed,
        "replay": trace.replay,
        "epoch": trace.epoch,
        "notes": notes,
        "hosts": trace.hosts,
        "flows": [
            {
                "name": str(flow),
                "client": flow.client,
                "server": flow.server,
                "ends": f"{flow.client_address}:{flow.client_port} → "
                f"{flow.server_address}:{flow.server_port}",
            }
            for flow in trace.flows
        ],
        "order": "".join(kind for kind, _ in order),
        "p": {
            "at": [segment.at for segment in segments],
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
            "came": [segment.arrived[0] if segment.arrived else None for segment in segments],
            "head": [segment.header for segment in segments],
        },
        "s": states,
        "a": said,
        "f": faults,
        "m": {
            "at": [sample.at for sample in trace.samples],
            "host": [hosts[sample.host] for sample in trace.samples],
            "flow": [sample.flow for sample in trace.samples],
            "cwnd": [sample.cwnd for sample in trace.samples],
            "ssthresh": [sample.ssthresh for sample in trace.samples],
            "flight": [sample.in_flight for sample in trace.samples],
            "snd_wnd": [sample.snd_wnd for sample in trace.samples],
            "rcv_wnd": [sample.rcv_wnd for sample in trace.samples],
            "srtt": [sample.srtt for sample in trace.samples],
            "rttvar": [sample.rttvar for sample in trace.samples],
            "rto": [sample.rto for sample in trace.samples],
            "waits": [words(sample.waits) for sample in trace.samples],
            "until": [sample.until for sample in trace.samples],
        },
        "words": words.known,
        "explain": {
            name: {"en": entry.en, "zh": entry.zh, "rfc": entry.rfc}
            for name, entry in explained.items()
            if name in used
        },
    }


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
