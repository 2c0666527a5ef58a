"""struct tcp_info as linux/tcp.h writes it, to read what a kernel or our sockets give."""

from __future__ import annotations

import struct

_LAYOUT = """
B state  B ca_state  B retransmits  B probes  B backoff  B options  B wscales  B flags
I rto  I ato  I snd_mss  I rcv_mss
I unacked  I sacked  I lost  I retrans  I fackets
I last_data_sent  I last_ack_sent  I last_data_recv  I last_ack_recv
I pmtu  I rcv_ssthresh  I rtt  I rttvar  I snd_ssthresh  I snd_cwnd  I advmss  I reordering
I rcv_rtt  I rcv_space  I total_retrans
Q pacing_rate  Q max_pacing_rate  Q bytes_acked  Q bytes_received
I segs_out  I segs_in  I notsent_bytes  I min_rtt  I data_segs_in  I data_segs_out
Q delivery_rate  Q busy_time  Q rwnd_limited  Q sndbuf_limited
I delivered  I delivered_ce  Q bytes_sent  Q bytes_retrans  I dsack_dups  I reord_seen
I rcv_ooopack  I snd_wnd  I rcv_wnd  I rehash  H total_rto  H total_rto_recoveries  I total_rto_time
I received_ce  I delivered_e1_bytes  I delivered_e0_bytes  I delivered_ce_bytes
I received_e1_bytes  I received_e0_bytes  I received_ce_bytes
H accecn_fail_mode  H accecn_opt_seen
"""
FIELDS = _LAYOUT.split()

SIZE = struct.calcsize("".join(FIELDS[::2]))
"""With the compiler's own alignment."""


def unpacked(raw: bytes) -> dict[str, int]:
    """The fields that are there: older kernels have fewer."""
    kinds, names = FIELDS[::2], FIELDS[1::2]
    while struct.calcsize("".join(kinds)) > len(raw):
        kinds, names = kinds[:-1], names[:-1]
    values = struct.unpack_from("".join(kinds), raw)
    fields: dict[str, int] = dict(zip(names, values, strict=True))
    fields["snd_wscale"] = fields["wscales"] & 15
    fields["rcv_wscale"] = fields["wscales"] >> 4
    return fields
