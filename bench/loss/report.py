"""What many runs of a cell come to, beside what is expected, as rows and as a table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.loss.cells import CELLS, LOWER_IS_BETTER, Cell
from bench.loss.simulate import Outcome


@dataclass(frozen=True)
class Row:
    """One cell with one algorithm."""

    sender: str
    """"simulated" for aiotcp in virtual time; live "aiotcp" or "linux"."""
    cell: str
    algorithm: str
    goodput: float
    """Mbit/s: the median of the seeds; also the lowest."""
    lowest: float
    retransmitted: float
    """Of what was delivered, over all seeds."""
    spurious: float | None
    """Of what was sent again, over all seeds; None: nothing was."""
    spurious_delivered: float
    """Of what was delivered, over all seeds."""
    busy: float
    """Median."""
    share: float | None
    """Median of the smaller share; also the lowest."""
    lowest_share: float | None
    targets: dict[str, float]
    missed: list[str]
    runs: list[dict[str, Any]]


def row(cell: Cell, algorithm: str, outcomes: Sequence[Outcome], sender: str = "simulated") -> Row:
    delivered = sum(each.delivered for each in outcomes)
    again = sum(each.retransmitted for each in outcomes)
    duplicate = sum(each.duplicate for each in outcomes)
    shares = [each.share for each in outcomes if each.share is not None]
    values: dict[str, float | None] = {
        "goodput": statistics.median(each.goodput for each in outcomes),
        "spurious": duplicate / again if again else None,
        "busy": statistics.median(each.busy for each in outcomes),
        "share": statistics.median(shares) if shares else None,
    }
    targets = {
        measure: target
        for measure in values
        if (target := cell.target(measure, algorithm)) is not None
    }
    return Row(
        sender=sender,
        cell=cell.name,
        algorithm=algorithm,
        goodput=values["goodput"] or 0.0,
        lowest=min(each.goodput for each in outcomes),
        retransmitted=again / delivered,
        spurious=values["spurious"],
        spurious_delivered=duplicate / delivered,
        busy=values["busy"] or 0.0,
        share=values["share"],
        lowest_share=min(shares) if shares else None,
        targets=targets,
        missed=[measure for measure, target in targets.items() if _misses(measure, values, target)],
        runs=[asdict(each) for each in outcomes],
    )


def _misses(measure: str, values: dict[str, float | None], target: float) -> bool:
    value = values[measure]
    if value is None:
        return False
    return value >= target if measure in LOWER_IS_BETTER else value < target


HEADER = (
    f"{'':26}{'cc':8}{'Mbit/s':>8}{'lowest':>8}{'target':>8}"
    f"{'again':>9}{'spurious':>10}{'target':>8}{'busy':>8}{'target':>8}{'share':>9}{'target':>8}"
)


def line(row: Row) -> str:
    """One row of the table; a value that misses its target has a `!` behind it."""

    def value(measure: str, text: str, width: int) -> str:
        return f"{text + ('!' if measure in row.missed else ' '):>{width}}"

    def target(measure: str, text: str) -> str:
        if measure not in row.targets:
            return f"{'':8}"
        bound = "<" if measure in LOWER_IS_BETTER else ">="
        return f"{bound + format(row.targets[measure], text):>8}"

    spurious = "-" if row.spurious is None else f"{row.spurious:.1%}"
    share = "" if row.share is None else f"{row.share:.0%}:{1 - row.share:.0%}".replace("%", "")
    return (
        f"{CELLS[row.cell].words:26}{row.algorithm:8}"
        f"{value('goodput', f'{row.goodput:.1f}', 8)}{row.lowest:8.1f}{target('goodput', '.0f')}"
        f"{row.retransmitted:9.2%}{value('spurious', spurious, 10)}{target('spurious', '.0%')}"
        f"{value('busy', f'{row.busy:.1%}', 8)}{target('busy', '.0%')}"
        f"{value('share', share, 9)}{target('share', '.0%')}"
    )


BESIDE = (
    f"{'':26}{'cc':8}{'Mbit/s':>30}{'again':>24}{'spurious':>24}{'share':>24}\n"
    f"{'':34}{'simulated':>10}{'live':>10}{'Linux':>10}"
    + 3
    * f"{'simulated':>10}{'live':>7}{'Linux':>7}"
)


def beside(rows: Sequence[Row | None]) -> str:
    """One row of the table that has all three senders; None: not to be had."""
    known = next(row for row in rows if row is not None)

    def values(text: Callable[[Row], str], widths: Sequence[int]) -> str:
        return "".join(
            f"{text(row) if row is not None else '-':>{width}}"
            for row, width in zip(rows, widths, strict=True)
        )

    narrow = (10, 7, 7)
    return (
        f"{CELLS[known.cell].words:26}{known.algorithm:8}"
        + values(lambda row: f"{row.goodput:.1f}", (10, 10, 10))
        + values(lambda row: f"{row.retransmitted:.2%}", narrow)
        + values(lambda row: "-" if row.spurious is None else f"{row.spurious:.0%}", narrow)
        + values(lambda row: "" if row.share is None else f"{row.share:.0%}", narrow)
    )
