"""Structured logs: key-value events through structlog, on top of the standard library's `logging`.

A library stays silent until its program says otherwise: `logger()` gives loggers whose events pass
through `logging` under the name "aiotcp", so without any set-up only warnings reach stderr, and a
program's own handlers and levels apply. A program that wants our format calls `configure()` once;
what others log through `logging` (uvicorn, asyncio) then has the same format.

One event tells of one thing that happened to a connection or to the stack: a transition, never a
segment. Segments are what captures and counters are for.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal, TextIO

import structlog
from structlog.typing import Processor

Format = Literal["console", "json"]

_ENRICH: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def logger(name: str = "aiotcp") -> structlog.stdlib.BoundLogger:
    """A structured logger on `logging.getLogger(name)`; costs one level check when filtered."""
    bound: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.stdlib.filter_by_level,
            *_ENRICH,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
    )
    return bound


def configure(
    format: Format = "console", level: str = "info", *, stream: TextIO | None = None
) -> None:
    """Send everything that is logged, by structlog or `logging`, to `stream` (default: stderr).

    format: "console" for people (in colour on a terminal), "json" for programs: one object a line.
    level: the least severe level to show, as `logging` names it, in any case. What others have to
        say for debugging stays out: it drowns ours, and some of it is per packet.
    Timestamps are ISO 8601 in UTC. Tracebacks are without local variables: among those are
    passwords, cookies and what else requests carry. Replaces the root logger's handlers. Raises
    ValueError for an unknown level or format.
    """
    stream = stream if stream is not None else sys.stderr
    if format == "json":
        finish: list[Processor] = [
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(),
        ]
    elif format == "console":
        finish = [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    else:
        raise ValueError(f"the log format must be console or json, not {format!r}")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_ENRICH,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish],
        )
    )
    root, ours = logging.getLogger(), logging.getLogger("aiotcp")
    ours.setLevel(level.upper())
    root.setLevel(max(ours.level, logging.INFO))
    root.handlers[:] = [handler]


def bind(**fields: object) -> None:
    """Put these fields into every event of this process from now on (of the current context, and
    of those that are copied from it, as tasks' are)."""
    structlog.contextvars.bind_contextvars(**fields)
