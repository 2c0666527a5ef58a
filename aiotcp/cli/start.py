"""`aiotcp` as a console script."""

from __future__ import annotations

from aiotcp.serve.start import quietly


def main() -> None:
    quietly()
    from aiotcp.cli.main import main as aiotcp

    aiotcp()
