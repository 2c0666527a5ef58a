"""Runs `aiotcp` as its main function does, in a thread where it blocks."""

from __future__ import annotations

import asyncio

from click.testing import CliRunner, Result

from aiotcp.cli.main import cli


def invoke(*arguments: str, **environment: str) -> Result:
    result = CliRunner().invoke(cli, arguments, env={"COLUMNS": "200", **environment})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


async def aiotcp(*arguments: str, **environment: str) -> str:
    """What it prints. It must succeed."""
    result = await asyncio.to_thread(invoke, *arguments, **environment)
    assert result.exit_code == 0, result.output
    return result.output
