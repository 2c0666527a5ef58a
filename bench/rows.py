"""The rows of the table: what is measured, against what, and the floor that it has to reach."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from bench import startup
from bench.cells import COMPILED, PEERS, Among, Cell, Idle, Peer, Serves, Starts, Tests, Virtual
from bench.measure import Work


@dataclass(frozen=True)
class Row:
    key: str
    """What `--only` knows it by."""
    words: str
    unit: str
    ours: Cell
    floor: float
    """What `ours`, divided by the mean of `references`, has to reach; without references, and with
    `difference`, a number in the unit of the row."""
    references: tuple[Cell, ...] = ()
    beside: tuple[Cell, ...] = ()
    """Shown for comparison."""
    limit: tuple[Cell, Cell] | None = None
    """Two cells: beside is shown what the first is to the second, as a measure of what the device
    makes of the row's ratio."""
    at_most: bool = False
    """The floor is a ceiling: less is better."""
    difference: bool = False
    """Ours less the reference is compared, not ours divided by it."""
    cpu_unit: str = ""
    """What the processor seconds are for: "GB", "1,000"."""


@dataclass(frozen=True)
class Block:
    """Rows whose cells are measured in turn: in each round all of them, each once."""

    name: str
    rows: tuple[Row, ...]


_IN, _OUT, _BOTH = Work("send"), Work("receive"), Work("both")
_ONE_BY_ONE, _FIFTY = Work("lines"), Work("lines", 50)
_ECHO, _HTTP = Work("echo"), Work("http", 64)
_TLS_IN, _TLS_OUT = Work("tls-send"), Work("tls-receive")

_RAW_IN, _RAW_OUT = Serves("raw", "sink", _IN), Serves("raw", "source", _OUT)
_INTO_BUFFER = Serves("aiotcp", "discard-buffered", _IN)
_OUT_OF_PROTOCOL = Serves("aiotcp", "source-protocol", _OUT)


def _row(key: str, words: str, work: Work, **rest: object) -> Row:
    return Row(key, words, work.unit, cpu_unit=work.cpu_unit, **rest)  # type: ignore[arg-type]


def _against_kernel(
    key: str, words: str, program: str, work: Work, floor: float, *beside: Cell
) -> Row:
    """The same program on aiotcp and on kernel sockets, both under uvloop."""
    return _row(
        key,
        words,
        work,
        ours=Serves("aiotcp", program, work),
        references=(Serves("kernel", program, work),),
        beside=beside,
        floor=floor,
    )


def _several(direction: str, connections: int) -> Row:
    one, raw = (_INTO_BUFFER, _RAW_IN) if direction == "in" else (_OUT_OF_PROTOCOL, _RAW_OUT)
    work = Work(one.work.mode, connections)
    name = "a BufferedProtocol" if direction == "in" else "a Protocol"
    return _row(
        f"{direction}-{connections}",
        f"{connections} connections, {'into' if direction == 'in' else 'out of'} {name} each",
        work,
        ours=Serves("aiotcp", one.program, work),
        references=(Serves("aiotcp", one.program, one.work, label="one connection"),),
        limit=(
            Serves("raw", raw.program, work, label=f"raw TUN, {connections} connections"),
            replace(raw, label="raw TUN with one"),
        ),
        floor=0.8,
    )


def _tls(direction: str, program: str, work: Work) -> Row:
    return _row(
        f"tls-{direction}",
        f"TLS, {direction}: asyncio's, under asyncio's loop",
        work,
        ours=Serves("aiotcp", program, work, loop="asyncio"),
        references=(Serves("kernel", program, work, loop="asyncio"),),
        beside=(
            Serves("aiotcp", program, work, label="aiotcp, uvloop"),
            Serves("kernel", program, work, label="kernel sockets, uvloop's own TLS"),
        ),
        floor=0.9,
    )


_BULK = Block(
    "bulk",
    (
        _row(
            "in-streams",
            "bulk into a StreamReader.read loop",
            _IN,
            ours=Serves("aiotcp", "discard-streams", _IN),
            references=(Serves("kernel", "discard-streams", _IN),),
            beside=(_RAW_IN,),
            floor=1.0,
        ),
        _row(
            "in-buffered",
            "bulk into a BufferedProtocol",
            _IN,
            ours=_INTO_BUFFER,
            references=(_RAW_IN,),
            beside=(Serves("kernel", "discard-buffered", _IN),),
            floor=0.5,
        ),
        _row(
            "out-streams",
            "bulk out of writer.write + drain",
            _OUT,
            ours=Serves("aiotcp", "source-streams", _OUT),
            references=(_RAW_OUT,),
            beside=(Serves("kernel", "source-streams", _OUT),),
            floor=0.5,
        ),
        _row(
            "out-protocol",
            "bulk out of a Protocol",
            _OUT,
            ours=_OUT_OF_PROTOCOL,
            references=(_RAW_OUT,),
            beside=(Serves("kernel", "source-protocol", _OUT),),
            floor=0.5,
        ),
        _row(
            "both",
            "bulk both ways at once, summed",
            _BOTH,
            ours=Serves("aiotcp", "both-protocol", _BOTH),
            references=(
                Serves("aiotcp", "discard-buffered", _IN, label="one way, in"),
                Serves("aiotcp", "source-protocol", _OUT, label="one way, out"),
            ),
            beside=(Serves("kernel", "both-protocol", _BOTH),),
            floor=0.8,
        ),
    ),
)

_SEVERAL = Block(
    "several",
    tuple(_several(direction, count) for direction in ("in", "out") for count in (10, 100)),
)

_PLAIN = Block(
    "plain",
    (
        _row(
            "plain-in",
            "without offload, into a BufferedProtocol",
            _IN,
            ours=Serves("aiotcp", "discard-buffered", _IN, offload=False),
            references=(Serves("raw", "sink", _IN, offload=False),),
            floor=0.5,
        ),
        _row(
            "plain-out",
            "without offload, out of writer.write + drain",
            _OUT,
            ours=Serves("aiotcp", "source-streams", _OUT, offload=False),
            references=(Serves("raw", "source", _OUT, offload=False),),
            floor=0.5,
        ),
    ),
)

_ROUND_TRIPS = Block(
    "echo",
    (
        _against_kernel(
            *("echo-streams", "round trips of 64 bytes, streams", "echo-streams", _ECHO, 0.6),
            Serves("raw", "echo", _ECHO),
        ),
        _against_kernel(
            *("echo-protocol", "round trips of 64 bytes, a Protocol", "echo-protocol", _ECHO, 0.7),
            Serves("raw", "echo", _ECHO),
        ),
    ),
)

_CONNECTIONS = Block(
    "lines",
    (
        _against_kernel(
            "lines-1", "connect, a line each way, close", "line-streams", _ONE_BY_ONE, 0.5
        ),
        _against_kernel(
            "lines-50", "connect, a line each way, close: 50 at once", "line-streams", _FIFTY, 0.5
        ),
    ),
)

_WEB = Block(
    "http",
    (
        _against_kernel(
            "http", "HTTP requests, wrk with 64 connections, uvicorn", "http", _HTTP, 0.75
        ),
    ),
)

_CROWD = Block(
    "crowd",
    (
        Row(
            "crowd-cost",
            "CPU for a round trip, 10,000 connections established",
            "us",
            ours=Among(many=True),
            references=(Among(many=False),),
            beside=(Among(many=True, in_turn=True),),
            floor=1.25,
            at_most=True,
        ),
        Row(
            "crowd-idle",
            "CPU of 10,000 idle connections",
            "ms/s",
            ours=Idle(),
            floor=0.1,  # as good as none: what reading the clock around it costs
            at_most=True,
        ),
    ),
)

_TLS = Block(
    "tls", (_tls("in", "discard-protocol", _TLS_IN), _tls("out", "source-protocol", _TLS_OUT))
)

_VIRTUAL = Block(
    "virtual",
    (
        Row(
            "virtual",
            "a flow of 10 Mbit/s, aiotcp to aiotcp in virtual time",
            "s per CPU s",
            ours=Virtual("packets", "in-memory link"),
            beside=(
                Virtual("frames", "in-memory link with offload"),
                Virtual("path", "Impair: 10 Mbit/s, 10 ms, losses"),
            ),
            floor=60,
        ),
        Row(
            "seeds",
            "a test with three hosts in virtual time (`aiotcp.testing`)",
            "seeds per CPU s",
            ours=Tests("run", "links that lose 2 %"),
            floor=50,
        ),
        Row(
            "hour",
            "an hour of partition in such a test",
            "ms",
            ours=Tests("hour", "an open connection"),
            floor=50,
            at_most=True,
        ),
    ),
)

_START = Block(
    "start",
    (
        Row(
            "import",
            "from aiotcp import Stack, ..., more than import asyncio",
            "ms",
            ours=Starts(startup.IMPORT_AIOTCP, "from aiotcp import Stack, ..."),
            references=(Starts(startup.IMPORT_ASYNCIO, "import asyncio"),),
            beside=(Starts(startup.IMPORT_NAMES, "import aiotcp alone"),),
            floor=60,
            at_most=True,
            difference=True,
        ),
        Row(
            "help",
            "aiotcp-serve --help",
            "ms",
            ours=Starts(startup.HELP, "aiotcp-serve --help"),
            floor=350,
            at_most=True,
        ),
    ),
)

BLOCKS = (
    *(_BULK, _SEVERAL, _PLAIN, _ROUND_TRIPS, _CONNECTIONS, _WEB, _CROWD, _TLS),
    *(_VIRTUAL, _START),
)
KEYS = tuple(row.key for block in BLOCKS for row in block.rows)


_PEERS_TOO = {
    "in-streams": ("discard", _IN),
    "out-streams": ("source", _OUT),
    "echo-streams": ("echo", _ECHO),
    "lines-1": ("line", _ONE_BY_ONE),
    "lines-50": ("line", _FIFTY),
}
"""The rows that other TCPs are shown in, and what they do there."""


def _with_peers(row: Row) -> Row:
    if row.key not in _PEERS_TOO or not PEERS.exists():
        return row
    peers = tuple(Peer(name, *_PEERS_TOO[row.key]) for name in ("mitmproxy_rs", "PyTCP"))
    return replace(row, beside=(*row.beside, *peers))


_COMPILED_TOO = frozenset(
    {
        *("in-buffered", "out-streams", "plain-in", "echo-streams", "echo-protocol"),
        *("lines-1", "lines-50", "http", "tls-out"),
    }
)
"""The rows that the build of `make compiled` is shown in, where there is one."""


def _with_compiled(row: Row) -> Row:
    if row.key not in _COMPILED_TOO or not COMPILED.exists():
        return row
    assert isinstance(row.ours, Serves)
    return replace(row, beside=(replace(row.ours, compiled=True), *row.beside))


def chosen(patterns: list[str]) -> list[Block]:
    """The blocks with those rows whose key fits one of the patterns ("in-*"); [] means all.

    Raises ValueError for a pattern that fits none.
    """
    for pattern in patterns:
        if not any(fnmatchcase(key, pattern) for key in KEYS):
            raise ValueError(f"no row is called {pattern}; there are {', '.join(KEYS)}")
    blocks = []
    for block in BLOCKS:
        rows = tuple(
            _with_compiled(_with_peers(row))
            for row in block.rows
            if not patterns or any(fnmatchcase(row.key, pattern) for pattern in patterns)
        )
        if rows:
            blocks.append(Block(block.name, rows))
    return blocks
