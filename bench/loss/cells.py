"""What is measured: the path, and the cells with their targets."""

from __future__ import annotations

from dataclasses import dataclass, field

RATE_BIT_S = 100e6
RTT_S = 0.04
MTU = 1500
BDP_PACKETS = round(RATE_BIT_S * RTT_S / 8 / MTU)
"""The bandwidth-delay product, in packets of the MTU: 333."""


@dataclass(frozen=True)
class Cell:
    """One kind of path, and what is expected on it.

    The data meets a bottleneck of 100 Mbit/s with a drop-tail buffer, then `loss` and `reorder`,
    then 20 ms of delay; acknowledgments meet 20 ms of delay, and `ack_loss`.
    """

    name: str
    words: str
    loss: float = 0.0
    """Probability, of each data packet."""
    ack_loss: float = 0.0
    """Probability, of each packet of the other direction."""
    reorder: float = 0.0
    """Probability, of each data packet, to skip the delay as netem's `reorder` does: it arrives 20
    ms early, ahead of some 167 others."""
    buffer_bdp: float = 1.0
    """Of the bottleneck."""
    seconds: float = 10.0
    """From the first flow's call of connect() to the end of measurement."""
    flows: int = 1
    """They begin within a second, at times drawn from the seed."""
    settled_s: float = 2.0
    """From here on `busy` and the shares are measured."""
    targets: dict[str, dict[str, float]] = field(default_factory=dict)
    """By measure, then by algorithm ("*": every one)."""

    def target(self, measure: str, algorithm: str) -> float | None:
        by_algorithm = self.targets.get(measure, {})
        return by_algorithm.get(algorithm, by_algorithm.get("*"))


LOWER_IS_BETTER = frozenset({"spurious"})
"""Measures whose target is a ceiling; of the others it is a floor."""

CELLS = {
    cell.name: cell
    for cell in (
        Cell("clean", "no loss", targets={"goodput": {"*": 92.0}}),
        Cell("loss0.1", "0.1 % loss", loss=0.001, targets={"goodput": {"bbr": 90.0}}),
        Cell("loss1", "1 % loss", loss=0.01, targets={"goodput": {"bbr": 85.0}}),
        Cell(
            "lossboth1",
            "1 % loss both ways",
            loss=0.01,
            ack_loss=0.01,
        ),
        Cell(
            "reorder1",
            "1 % reordering",
            reorder=0.01,
            targets={"goodput": {"cubic": 85.0, "bbr": 85.0}},
        ),
        Cell(
            "reorderloss1",
            "1 % reordering, 1 % loss",
            loss=0.01,
            reorder=0.01,
            targets={"spurious": {"*": 0.05}},
        ),
        Cell(
            "buffer1",
            "1 BDP of buffer",
            seconds=20.0,
            targets={"busy": {"cubic": 0.95, "bbr": 0.95}},
        ),
        Cell(
            "share",
            "two flows",
            # The one that comes later finds the path full: CUBIC's flows take some 40 s to get
            # to 40:60 from there.
            seconds=80.0,
            flows=2,
            settled_s=40.0,
            targets={"share": {"*": 0.40}},
        ),
    )
}
