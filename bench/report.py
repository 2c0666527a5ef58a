"""From what was measured to a table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.cells import Cell
from bench.measure import Sample
from bench.rows import Row


@dataclass
class Found:
    """What was found of one cell: a sample of each round, or None where there is none."""

    samples: list[Sample | None] = field(default_factory=list)
    missing: str = ""
    """Why there is none."""

    @property
    def good(self) -> list[Sample]:
        return [sample for sample in self.samples if sample is not None]


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _cell(name: str, role: str, found: Found) -> dict[str, Any]:
    values = [sample.value for sample in found.good]
    return {
        "name": name,
        "role": role,
        "median": _median(values),
        "lowest": min(values, default=None),
        "highest": max(values, default=None),
        "cpu": _median([sample.cpu for sample in found.good if sample.cpu is not None]),
        "client_cpu": _median(
            [sample.client_cpu for sample in found.good if sample.client_cpu is not None]
        ),
        "runs": values,
        "faults": [fault for sample in found.good for fault in sample.faults],
        "missing": found.missing,
    }


def _comparisons(
    ours: Found, references: Sequence[Found], row: Row, attribute: str = "value"
) -> list[float]:
    """Of each round: ours against the mean of the references."""
    made: list[float] = []
    for mine, *others in zip(ours.samples, *(each.samples for each in references), strict=False):
        numbers: list[Any] = [getattr(sample, attribute, None) for sample in (mine, *others)]
        if None in numbers:
            continue
        value, *against = numbers
        reference = statistics.fmean(against) if against else 0.0
        if not references:
            made.append(value)
        elif row.difference:
            made.append(value - reference)
        elif reference:
            made.append(value / reference)
    return made


def summary(row: Row, found: dict[Cell, Found]) -> dict[str, Any]:
    """One row, as JSON has it. `found` has each of its cells."""
    references = [found[cell] for cell in row.references]
    ratio = _median(_comparisons(found[row.ours], references, row))
    per_cpu = None
    if row.references and row.cpu_unit:
        costs = _comparisons(found[row.ours], references, row, "cpu")
        per_cpu = _median([1 / cost for cost in costs if cost])
    met = None if ratio is None else (ratio <= row.floor if row.at_most else ratio >= row.floor)
    beside = [
        _cell(cell.name, "beside", found[cell])
        | {"ratio": _median(_comparisons(found[cell], references, row))}
        for cell in row.beside
    ]
    if row.limit is not None:
        most, one = (found[cell] for cell in row.limit)
        limit = {"ratio": _median(_comparisons(most, [one], row)), "to": row.limit[1].name}
        beside.append(_cell(row.limit[0].name, "limit", most) | limit)
    roles = ((row.ours, "ours"), *((cell, "reference") for cell in row.references))
    return {
        "key": row.key,
        "words": row.words,
        "unit": row.unit,
        "cpu_unit": row.cpu_unit,
        "ratio": ratio,
        "ratio_is": "difference"
        if row.difference
        else ("ratio" if row.references else "the value itself"),
        "ratio_per_cpu": per_cpu,
        "floor": row.floor,
        "at_most": row.at_most,
        "met": met,
        "cells": [
            *(_cell(cell.name, role, found[cell]) for cell, role in roles),
            *beside,
        ],
    }


def _number(value: float | None) -> str:
    """Two digits or more, and all of those before the point."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 or not value else f"{value:.2g}"


def _is_compiled(cell: dict[str, Any]) -> bool:
    """Whether it is ours in its other build, and so compared with the references as well."""
    return bool(cell["role"] == "beside" and cell["name"] == "aiotcp, compiled")


def _beside(cell: dict[str, Any]) -> str:
    if cell["missing"]:
        return f"{cell['name']}: {cell['missing']}"
    ratio = ""
    if cell["role"] == "limit":
        ratio = f" ({_number(cell['ratio'])} of {cell['to']})"
    elif _is_compiled(cell):
        ratio = f" ({_number(cell['ratio'])})"
    return f"{cell['name']}: {_number(cell['median'])}{ratio}"


def _goal(row: dict[str, Any]) -> str:
    return ("<= " if row["at_most"] else ">= ") + f"{row['floor']:g}"


def _mark(row: dict[str, Any]) -> str:
    return "!" if row["met"] is False else " "


def _heading(report: dict[str, Any]) -> list[str]:
    setting, machine = report["setting"], report["machine"]
    kernel = (
        f"behind a veth pair of MTU {setting['mtu']}"
        if setting["veth"]
        else "on the loopback, beside the client"
    )
    return [
        f"IPv{setting['version']}, MTU {setting['mtu']}, Python {machine['python']}, uvloop "
        f"{machine['uvloop']}, Linux {machine['kernel']}, {machine['processors']} processors",
        f"{setting['runs']} runs of {setting['seconds']:g} s, medians; all senders CUBIC; kernel "
        f"sockets are {kernel}",
        f"busy with other work: {machine['busy_elsewhere']:.2f} processors; load average "
        f"{machine['load_average'][0]:.2f}; uvicorn with {machine['http']}",
    ]


def table(report: dict[str, Any]) -> str:
    """For people. A number that misses its floor has a `!` behind it."""
    lines = [*_heading(report), ""]
    titles = ("lowest", "highest", "CPU", "per CPU", "ratio")
    lines.append(f"{'median':>48}{''.join(f'{title:>9}' for title in titles)}  floor")
    for row in report["rows"]:
        cpu = f"; CPU: s per {row['cpu_unit']}" if row["cpu_unit"] else ""
        lines.append(f"{row['words']} ({row['unit']}{cpu})")
        for cell in row["cells"]:
            if cell["missing"]:
                lines.append(f"    {cell['name']:34}not measured: {cell['missing']}")
                continue
            line = f"    {cell['name']:34}"
            line += "".join(
                f"{_number(cell[each]):>{width}}"
                for each, width in (("median", 10), ("lowest", 9), ("highest", 9))
            )
            line += f"{_number(cell['cpu']) if cell['cpu'] is not None else '':>9}"
            if _is_compiled(cell) or cell["role"] == "limit":
                line += f"{'':9}{_number(cell['ratio']):>9}"
            if cell["role"] == "ours":
                per_cpu = row["ratio_per_cpu"]
                line += f"{_number(per_cpu) if per_cpu is not None else '':>9}"
                line += f"{_number(row['ratio']):>9}{_mark(row)} {_goal(row)}"
            faults = sorted(set(cell["faults"]))
            lines.append((line + (f"  ({'; '.join(faults)})" if faults else "")).rstrip())
    return "\n".join(lines)


def markdown(report: dict[str, Any]) -> str:
    """The same for docs/performance.md."""
    lines = [
        *(line + "  " for line in _heading(report)),
        "",
        "| work | aiotcp | reference | ratio | floor | per CPU | CPU, aiotcp | CPU, reference "
        "| beside |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        ours, *others = row["cells"]
        references = [cell for cell in others if cell["role"] == "reference"]
        beside = [cell for cell in others if cell["role"] in ("beside", "limit")]

        def shown(cells: list[dict[str, Any]]) -> str:
            return "; ".join(
                f"{cell['name']}: {cell['missing'] or _number(cell['median'])}" for cell in cells
            )

        cpu = [
            "" if cell is None or cell["cpu"] is None else f"{_number(cell['cpu'])} s"
            for cell in (ours, references[0] if len(references) == 1 else None)
        ]
        per = f"/{row['cpu_unit']}" if row["cpu_unit"] else ""
        columns = (
            f"{row['words']}",
            f"{ours['missing'] or _number(ours['median']) + ' ' + row['unit']}",
            shown(references),
            f"**{_number(row['ratio'])}**" if row["met"] else f"{_number(row['ratio'])} !",
            _goal(row),
            "" if row["ratio_per_cpu"] is None else _number(row["ratio_per_cpu"]),
            *(each + per if each else "" for each in cpu),
            "; ".join(map(_beside, beside)),
        )
        lines.append("| " + " | ".join(columns) + " |")
    return "\n".join(lines)
