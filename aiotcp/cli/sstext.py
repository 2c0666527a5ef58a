"""The words of `ss` for what stands beside and below a connection: ss(8), and misc/ss.c.

Names, order and units are those of iproute2; what we do not measure is left out.
"""

from __future__ import annotations

from typing import Any

_INFINITE_SSTHRESH = 0x7FFFFFFF


def timer(found: dict[str, Any]) -> str:
    return f"timer:({found['name']},{_duration(found['in_s'])},{found['retrans']})"


def extended(row: dict[str, Any]) -> str:
    words = [f"uid:{row['process']['uid']}"] if row["process"]["uid"] else []
    if "age_s" in row:
        words.append(f"age:{row['age_s']:.3f}s")
    if row.get("orphan"):
        words.append("orphan")
    return " ".join(words)


def process(row: dict[str, Any]) -> str:
    found = row["process"]
    return f'users:(("{found["name"]}",pid={found["pid"]}))'


def memory(row: dict[str, Any]) -> str:
    found = row.get("mem")
    if not found:
        return ""
    return f"skmem:(r{found['rmem']},rb{found['rcvbuf']},w{found['wmem']},tb{found['sndbuf']})"


def waits(row: dict[str, Any]) -> str:
    found = row["waits"]
    until = f" until:{found['in_s']:.3f}s" if found["in_s"] is not None else ""
    return f'waits:"{found["for"]}"{until}'


def info(row: dict[str, Any], *, numeric: bool, options: bool) -> str:
    """The line that -i adds; options: with what -o adds to it."""
    tcp = row.get("tcp_info")
    if tcp is None:
        return waits(row)
    words = [*_agreed(tcp, options), *_sizes(tcp), *_counted(tcp)]
    words += _rates(row, tcp, numeric)
    return " ".join((*words, waits(row)))


_OPTIONS = {"timestamps": "ts", "sack": "sack", "ecn": "ecn", "syn_data": "fastopen"}


def _agreed(tcp: dict[str, Any], all_options: bool) -> list[str]:
    words = []
    if all_options:
        words = [word for name, word in _OPTIONS.items() if name in tcp["options"]]
    words.append(tcp["cc"])
    if "wscale" in tcp["options"]:
        words.append(f"wscale:{tcp['snd_wscale']},{tcp['rcv_wscale']}")
    return words


def _sizes(tcp: dict[str, Any]) -> list[str]:
    words = [f"rto:{_ms(tcp['rto'])}"] if tcp["rto"] else []
    if tcp["backoff"]:
        words.append(f"backoff:{tcp['backoff']}")
    if tcp["rtt"]:
        words.append(f"rtt:{_ms(tcp['rtt'])}/{_ms(tcp['rttvar'])}")
    if tcp["ato"]:
        words.append(f"ato:{_ms(tcp['ato'])}")
    words += _given(
        tcp,
        {"mss": "snd_mss", "pmtu": "pmtu", "rcvmss": "rcv_mss", "advmss": "advmss"},
    )
    words += _given(tcp, {"cwnd": "snd_cwnd"})
    if tcp["snd_ssthresh"] < _INFINITE_SSTHRESH and tcp["state"] != "LISTEN":
        words.append(f"ssthresh:{tcp['snd_ssthresh']}")
    return words


def _counted(tcp: dict[str, Any]) -> list[str]:
    names = (
        *("bytes_sent", "bytes_retrans", "bytes_acked", "bytes_received"),
        *("segs_out", "segs_in", "data_segs_out", "data_segs_in"),
    )
    words = _given(tcp, {name: name for name in names})
    about = tcp["cc_info"]
    if tcp["cc"] == "bbr" and "bw" in about:
        told = [f"bw:{_rate(about['bw'] * 8, numeric=False)}bps"]
        if "min_rtt" in about:
            told.append(f"mrtt:{about['min_rtt'] * 1000:g}")
        told += [f"{name}:{about[name]:g}" for name in ("pacing_gain", "cwnd_gain") if about[name]]
        words.append(f"bbr:({','.join(told)})")
    return words


def _rates(row: dict[str, Any], tcp: dict[str, Any], numeric: bool) -> list[str]:
    words = []
    if tcp["rtt"] and tcp["snd_cwnd"] and tcp["snd_mss"]:
        sending = tcp["snd_cwnd"] * tcp["snd_mss"] * 8e6 / tcp["rtt"]
        words.append(f"send {_rate(sending, numeric=numeric)}bps")
    words += _given(
        tcp,
        {"lastsnd": "last_data_sent", "lastrcv": "last_data_recv", "lastack": "last_ack_recv"},
    )
    if tcp["pacing_rate"] is not None:
        most = tcp["max_pacing_rate"]
        bound = f"/{_rate(most * 8, numeric=numeric)}bps" if most is not None else ""
        words.append(f"pacing_rate {_rate(tcp['pacing_rate'] * 8, numeric=numeric)}bps{bound}")
    if tcp["delivery_rate"]:
        words.append(f"delivery_rate {_rate(tcp['delivery_rate'] * 8, numeric=numeric)}bps")
    words += _given(tcp, {"delivered": "delivered", "delivered_ce": "delivered_ce"})
    if tcp["delivery_rate_app_limited"]:
        words.append("app_limited")
    words += _given(tcp, {"unacked": "unacked"})
    if tcp["retrans"] or tcp["total_retrans"]:
        words.append(f"retrans:{tcp['retrans']}/{tcp['total_retrans']}")
    words += _given(tcp, {"lost": "lost"})
    if tcp["state"] != "LISTEN":
        words += _given(tcp, {"sacked": "sacked"})
    words += _given(tcp, {"dsack_dups": "dsack_dups", "reord_seen": "reord_seen"})
    if tcp["rcv_rtt"]:
        words.append(f"rcv_rtt:{_ms(tcp['rcv_rtt'])}")
    words += _given(
        tcp, {"rcv_space": "rcv_space", "rcv_ssthresh": "rcv_ssthresh", "notsent": "notsent_bytes"}
    )
    if tcp["min_rtt"]:
        words.append(f"minrtt:{_ms(tcp['min_rtt'])}")
    return words + _given(
        tcp, {"rcv_ooopack": "rcv_ooopack", "snd_wnd": "snd_wnd", "rcv_wnd": "rcv_wnd"}
    )


def _given(tcp: dict[str, Any], names: dict[str, str]) -> list[str]:
    """Those that are not zero; `names` has ss's name, and tcp_info's."""
    return [f"{name}:{tcp[field]}" for name, field in names.items() if tcp[field]]


def _ms(microseconds: int) -> str:
    return f"{microseconds / 1000:g}"


def _rate(bits: float, *, numeric: bool) -> str:
    """ss's sprint_bw."""
    if numeric:
        return f"{bits:.0f}"
    for unit, sign in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if bits > unit:
            return f"{bits / unit:.1f}{sign}"
    return f"{bits:g}"


def _duration(seconds: float) -> str:
    """ss's print_ms_timer: "204ms", "1.200ms", "12sec", "1min59sec", "119min"."""
    total = int(seconds * 1000)
    minutes, rest = divmod(total, 60_000)
    secs, msecs = divmod(rest, 1000)
    text = ""
    if minutes:
        msecs = 0
        text = f"{minutes}min"
        if minutes > 9:
            secs = 0
    if secs:
        if secs > 9:
            msecs = 0
        text += f"{secs}." if msecs else f"{secs}sec"
    if msecs:
        text += f"{msecs:03}ms"
    return text or "0ms"
