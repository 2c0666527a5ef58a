"""The names of what the stack does and declines to do.

`Why` labels every segment that is sent; `Drop` names every packet that is discarded. Counters,
logs and captures read these labels, so each value is a stable, lower-case word.
"""

from __future__ import annotations

from enum import StrEnum


class Why(StrEnum):
    """Why a segment was sent."""

    OPEN = "open"
    OPEN_RETRANSMIT = "open_retransmit"
    OPEN_REPLY = "open_reply"
    OPEN_REPLY_RETRANSMIT = "open_reply_retransmit"
    OPEN_ACK = "open_ack"
    SYN_COOKIE = "syn_cookie"
    NEW_DATA = "new_data"
    CLOSE = "close"
    ACK_SECOND_SEGMENT = "ack_second_segment"
    ACK_DELAYED = "ack_delayed"
    ACK_QUICK = "ack_quick"
    ACK_OUT_OF_ORDER = "ack_out_of_order"
    ACK_DUPLICATE = "ack_duplicate"
    ACK_UNACCEPTABLE = "ack_unacceptable"
    ACK_FIN = "ack_fin"
    ACK_TIME_WAIT = "ack_time_wait"
    ACK_PAWS = "ack_paws"
    ACK_CONGESTION = "ack_congestion"
    WINDOW_UPDATE = "window_update"
    WINDOW_PROBE = "window_probe"
    WINDOW_PROBE_REPLY = "window_probe_reply"
    CHALLENGE_ACK = "challenge_ack"
    KEEPALIVE = "keepalive"
    FAST_RETRANSMIT = "fast_retransmit"
    PARTIAL_ACK_RETRANSMIT = "partial_ack_retransmit"
    LIMITED_TRANSMIT = "limited_transmit"
    RTO_RETRANSMIT = "rto_retransmit"
    PATH_MTU_RETRANSMIT = "path_mtu_retransmit"
    RST_NO_CONNECTION = "rst_no_connection"
    RST_BAD_ACK = "rst_bad_ack"
    RST_ABORT = "rst_abort"
    RST_UNREAD_DATA = "rst_unread_data"
    RST_DATA_AFTER_CLOSE = "rst_data_after_close"
    RST_TIMEOUT = "rst_timeout"
    RST_ORPHAN = "rst_orphan"
    ICMP_ECHO_REPLY = "icmp_echo_reply"
    ICMP_UNREACHABLE = "icmp_unreachable"


class Drop(StrEnum):
    """Why a received packet was discarded. Each discarded packet counts under exactly one."""

    # The link.
    LINK_HEADER = "link_header"
    # The IP layer.
    IP_EMPTY = "ip_empty"
    IP_VERSION = "ip_version"
    IP_TRUNCATED = "ip_truncated"
    IP_HEADER_LENGTH = "ip_header_length"
    IP_CHECKSUM = "ip_checksum"
    IP_FRAGMENT = "ip_fragment"
    IP_OPTION = "ip_option"
    IP_EXTENSION_HEADER = "ip_extension_header"
    IP_ROUTING_HEADER = "ip_routing_header"
    IP_AUTHENTICATION_HEADER = "ip_authentication_header"
    IP_ENCRYPTED = "ip_encrypted"
    IP_NO_NEXT_HEADER = "ip_no_next_header"
    IP_BAD_SOURCE = "ip_bad_source"
    IP_NOT_FOR_US = "ip_not_for_us"
    IP_PROTOCOL = "ip_protocol"
    # ICMP.
    ICMP_TRUNCATED = "icmp_truncated"
    ICMP_CHECKSUM = "icmp_checksum"
    ICMP_TYPE = "icmp_type"
    ICMP_EMBEDDED = "icmp_embedded"
    ICMP_NO_CONNECTION = "icmp_no_connection"
    ICMP_SEQUENCE = "icmp_sequence"
    ICMP_MTU = "icmp_mtu"
    ICMP_SOURCE_QUENCH = "icmp_source_quench"
    ICMP_RATE_LIMIT = "icmp_rate_limit"
    # The TCP header.
    TCP_TRUNCATED = "tcp_truncated"
    TCP_DATA_OFFSET = "tcp_data_offset"
    TCP_CHECKSUM = "tcp_checksum"
    TCP_PORT_ZERO = "tcp_port_zero"
    # No connection to give it to.
    TCP_NO_CONNECTION = "tcp_no_connection"
    TCP_RST_NO_CONNECTION = "tcp_rst_no_connection"
    TCP_RST_RATE_LIMIT = "tcp_rst_rate_limit"
    TCP_SYN_BROADCAST = "tcp_syn_broadcast"
    # LISTEN and half-open.
    LISTEN_RST = "listen_rst"
    LISTEN_ACK = "listen_ack"
    LISTEN_NO_SYN = "listen_no_syn"
    LISTEN_BACKLOG = "listen_backlog"
    LISTEN_BAD_COOKIE = "listen_bad_cookie"
    LISTEN_MAX_CONNECTIONS = "listen_max_connections"
    HALF_OPEN_BAD_ACK = "half_open_bad_ack"
    HALF_OPEN_NO_ACK = "half_open_no_ack"
    HALF_OPEN_RST = "half_open_rst"
    HALF_OPEN_SYN = "half_open_syn"
    HALF_OPEN_SYN_AGAIN = "half_open_syn_again"
    # SYN-SENT.
    SYN_SENT_BAD_ACK = "syn_sent_bad_ack"
    SYN_SENT_RST_NO_ACK = "syn_sent_rst_no_ack"
    SYN_SENT_NO_SYN = "syn_sent_no_syn"
    # Synchronized states.
    OUT_OF_WINDOW = "out_of_window"
    PAWS = "paws"
    NO_TIMESTAMP = "no_timestamp"
    RST_OUT_OF_WINDOW = "rst_out_of_window"
    RST_CHALLENGED = "rst_challenged"
    SYN_CHALLENGED = "syn_challenged"
    NO_ACK = "no_ack"
    ACK_TOO_OLD = "ack_too_old"
    ACK_TOO_NEW = "ack_too_new"
    DATA_AFTER_CLOSE = "data_after_close"
    DATA_AFTER_FIN = "data_after_fin"
    DUPLICATE_DATA = "duplicate_data"
    REASSEMBLY_FULL = "reassembly_full"
    # TIME-WAIT.
    TIME_WAIT_RST = "time_wait_rst"
    TIME_WAIT_SYN = "time_wait_syn"
    TIME_WAIT_OLD = "time_wait_old"
    TIME_WAIT_FIN = "time_wait_fin"
