"""A TCP segment as it was received, and the flags of the header."""

from __future__ import annotations

from typing import Final

from aiotcp.mypyc import mypyc_attr
from aiotcp.wire.frame import Buffer
from aiotcp.wire.options import AccEcnFields

FIN: Final = 1
SYN: Final = 2
RST: Final = 4
PSH: Final = 8
ACK: Final = 16
URG: Final = 32
ECE: Final = 64
CWR: Final = 128
AE: Final = 256

_FLAG_NAMES: Final = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE")


def flags_text(flags: int) -> str:
    """The names of the flags that are set, low bit first: "SYN,ACK"; "none" if no flag is."""
    return ",".join(n for bit, n in enumerate(_FLAG_NAMES) if flags >> bit & 1) or "none"


@mypyc_attr(acyclic=True)
class Segment:
    """One TCP segment, or one inbound super-packet of many (`gso_size` > 0).

    `window` is the field as sent, never scaled. `tsval` is None without a timestamps option, and
    `tsecr` then 0. `mss`, `wscale`, `sack_permitted` are reported whatever the flags say: whether
    they mean anything on a segment without SYN is the core's matter. `seq` and `ack` leave the
    parser modulo 2³²; the core overwrites them by its own unwrapped numbers. `ecn` is the codepoint
    of the IP header (RFC 3168 5: Not-ECT 0, ECT(1) 1, ECT(0) 2, CE 3), which the parser of the TCP
    header does not see. `accecn` holds the fields of an AccECN option: EE0B, ECEB and EE1B, None
    where the option leaves one out (RFC 9768 3.2.3). `user_timeout` is in seconds (RFC 5482); None
    without that option. `fast_open` is the cookie of RFC 7413, empty for the request for one, None
    without that option or without SYN.
    """

    __slots__ = (
        "accecn",
        "ack",
        "ecn",
        "fast_open",
        "flags",
        "gso_size",
        "mss",
        "payload",
        "sack",
        "sack_permitted",
        "seq",
        "tsecr",
        "tsval",
        "urgent",
        "user_timeout",
        "window",
        "wscale",
    )

    def __init__(
        self,
        seq: int = 0,
        ack: int = 0,
        flags: int = 0,
        window: int = 0,
        urgent: int = 0,
        payload: Buffer = b"",
        tsval: int | None = None,
        tsecr: int = 0,
        sack: tuple[tuple[int, int], ...] = (),
        mss: int | None = None,
        wscale: int | None = None,
        sack_permitted: bool = False,
        gso_size: int = 0,
        user_timeout: int | None = None,
    ) -> None:
        self.seq = seq
        self.ack = ack
        self.flags = flags
        self.window = window
        self.urgent = urgent
        self.payload = payload
        self.tsval = tsval
        self.tsecr = tsecr
        self.sack = sack
        self.mss = mss
        self.wscale = wscale
        self.sack_permitted = sack_permitted
        self.gso_size = gso_size
        self.ecn = 0
        self.accecn: AccEcnFields | None = None
        self.user_timeout = user_timeout
        self.fast_open: bytes | None = None

    @property
    def length(self) -> int:
        """SEG.LEN: sequence numbers that the segment occupies, SYN and FIN counted."""
        return len(self.payload) + (self.flags & FIN) + (self.flags >> 1 & 1)

    def __repr__(self) -> str:
        parts = [flags_text(self.flags), f"seq={self.seq}"]
        if self.flags & ACK:
            parts.append(f"ack={self.ack}")
        parts += [f"win={self.window}", f"len={len(self.payload)}"]
        if self.flags & URG:
            parts.append(f"urg={self.urgent}")
        if self.mss is not None:
            parts.append(f"mss={self.mss}")
        if self.wscale is not None:
            parts.append(f"wscale={self.wscale}")
        if self.sack_permitted:
            parts.append("sack_permitted")
        if self.tsval is not None:
            parts.append(f"ts={self.tsval}/{self.tsecr}")
        if self.sack:
            parts.append("sack=" + ",".join(f"{left}-{right}" for left, right in self.sack))
        if self.user_timeout is not None:
            parts.append(f"uto={self.user_timeout}")
        if self.fast_open is not None:
            parts.append(f"tfo={self.fast_open.hex() or 'request'}")
        if self.accecn is not None:
            parts.append("accecn=" + "/".join(map(str, self.accecn)))
        if self.ecn:
            parts.append(("", "ECT(1)", "ECT(0)", "CE")[self.ecn])
        if self.gso_size:
            parts.append(f"gso={self.gso_size}")
        return f"<Segment {' '.join(parts)}>"
