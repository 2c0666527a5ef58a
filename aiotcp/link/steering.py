"""Which process a flow's packets go to, where several share a TUN device, one queue each.

The kernel's own steering of a TUN device with several queues goes by a hash of addresses and ports
that nobody outside of it can compute. A connection that comes from the kernel's side stays on its
queue with that, idle or not, as long as the number of queues stays the same. But

*   an ICMP error about a connection is another flow, and comes to whichever queue;
*   so do the answers to a connection that one of the processes opens. (The kernel learns from
    where a flow was sent, but a local answer is there before it has, and later it forgets after
    three idle seconds. Of three processes' connections to this machine one in three succeeded.)

So where it is allowed to (CAP_BPF, or `kernel.unprivileged_bpf_disabled` = 0), `Steering.install`
gives the device an eBPF program of some 400 instructions, of which a TCP packet runs 35 or 90: a
hash, keyed, of what the stack's table has as its key, which for an ICMP error is found in the
packet that it quotes. `Steering.queue_of` is the same hash, so a stack can choose local ports whose
answers come to it.

The program does not parse more than that: what is no TCP and no error goes by its addresses and the
four bytes behind the IP header, so that somebody answers, always the same. What is too short for
its headers goes to queue 0; an error about a packet to which a router has added IPv6 extension
headers may come to one that does not know the connection.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import struct
from collections.abc import Callable
from dataclasses import dataclass

from aiotcp.wire import icmp, ipv6

_TUNSETSTEERINGEBPF = 0x800454E0

# linux/bpf.h
_BPF_PROG_LOAD = 5
_BPF_PROG_TYPE_SOCKET_FILTER = 1
_PROG_LOAD_ATTR = struct.Struct("=IIQQIIQII16s")
_BPF_CALL_NUMBERS = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "ppc64le": 361,
    "s390x": 351,
}
"""bpf(2) has no wrapper in libc; its number differs between architectures."""

_LOAD_ATTEMPTS = 5
"""A signal that arrives meanwhile has the verifier give up (EAGAIN); libbpf tries so often."""

_FACTOR = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio, as in the kernel's hash_64()
_MASK = (1 << 64) - 1

# What a byte of code says (RFC 9669), of what is needed here. Register 0 has results, 1 to 5 are
# lost in loads of the packet, 6 is the packet for those loads, 7 to 9 are kept.
_LOAD_AT = {1: 0x30, 4: 0x20}  # r0 = big-endian number of that many bytes at an offset
_LOAD_FROM = {1: 0x50, 4: 0x40}  # the same, at an offset from a register
_LOAD_64 = 0x18
_MOV_NUMBER, _MOV = 0xB7, 0xBF
_ADD_NUMBER, _ADD, _MUL_NUMBER, _MUL = 0x07, 0x0F, 0x27, 0x2F
_AND_NUMBER, _OR, _XOR = 0x57, 0x4F, 0xAF
_LEFT_NUMBER, _RIGHT_NUMBER, _LEFT_32_NUMBER = 0x67, 0x77, 0x64
_GOTO, _IF_EQUAL, _IF_ABOVE = 0x05, 0x15, 0x25
_EXIT = 0x95

_ICMPV4_ERRORS = (
    icmp.V4_UNREACHABLE,
    icmp.V4_SOURCE_QUENCH,
    icmp.V4_TIME_EXCEEDED,
    icmp.V4_PARAMETER_PROBLEM,
)
_LARGEST_ICMPV6_ERROR = 127  # RFC 4443 2.1


@dataclass(frozen=True, slots=True)
class Steering:
    """How flows are spread over `queues` queues. key: 64 secret bits, so that nobody outside can
    choose ports that all lead to one process."""

    queues: int
    key: int

    def queue_of(self, flow: bytes) -> int:
        """The queue of a connection: remote address, local address, remote port, local port, as
        an inbound packet has them one after the other (12 or 36 bytes)."""
        mixed = self.key
        for (word,) in struct.iter_unpack("!I", flow):
            mixed = (mixed ^ word) * _FACTOR & _MASK
            mixed ^= mixed >> 32
        return (mixed >> 32) * self.queues >> 32

    def owner(self, queue: int) -> Callable[[bytes], bool]:
        """Tells of a flow whether it comes to `queue`: what `Tun(owns=...)` takes."""
        return lambda flow: self.queue_of(flow) == queue

    def install(self, tun: int) -> None:
        """Let the device that the descriptor belongs to be steered like this.

        Raises OSError: PermissionError where eBPF is for root only, ENOSYS where there is none.
        """
        program = load(self.program())
        try:
            fcntl.ioctl(tun, _TUNSETSTEERINGEBPF, struct.pack("=i", program))
        finally:
            os.close(program)

    def program(self) -> bytes:
        """The eBPF program: from a packet to its queue."""
        return _Assembler(self).code()


def remove(tun: int) -> None:
    """Leave the device to the kernel's own steering."""
    fcntl.ioctl(tun, _TUNSETSTEERINGEBPF, struct.pack("=i", -1))


class _Assembler:
    """Writes the program down. Jumps go forward, to labels that follow."""

    def __init__(self, steering: Steering) -> None:
        self._steering = steering
        self._code: list[tuple[int, int, int, int, int]] = []
        self._jumps: list[tuple[int, str]] = []
        self._labels: dict[str, int] = {}

    def _put(self, code: int, dst: int = 0, src: int = 0, number: int = 0) -> None:
        self._code.append((code, dst, src, 0, number))

    def _jump(self, code: int, dst: int, number: int, label: str) -> None:
        self._jumps.append((len(self._code), label))
        self._put(code, dst, 0, number)

    def _label(self, name: str) -> None:
        self._labels[name] = len(self._code)

    def _constant(self, dst: int, number: int) -> None:
        self._put(_LOAD_64, dst, 0, number & 0xFFFFFFFF)
        self._put(0, 0, 0, number >> 32)

    def _load(self, width: int, offset: int, base: int | None = None) -> None:
        if base is None:
            self._put(_LOAD_AT[width], 0, 0, offset)
        else:
            self._put(_LOAD_FROM[width], 0, base, offset)

    def _mix(self) -> None:
        """r0 into the hash, r7: a round of `queue_of`."""
        self._put(_XOR, 7, 0)
        self._constant(1, _FACTOR)
        self._put(_MUL, 7, 1)
        self._put(_MOV, 1, 7)
        self._put(_RIGHT_NUMBER, 1, 0, 32)
        self._put(_XOR, 7, 1)

    def _mix_words(self, start: int, stop: int, base: int | None = None) -> None:
        for offset in range(start, stop, 4):
            self._load(4, offset, base)
            self._mix()

    def _mix_quoted(self, source: int, width: int) -> None:
        """The flow of the packet of ours at r9, whose addresses begin at `source`."""
        destination = source + width
        ports = destination + width
        self._mix_words(destination, ports, 9)
        self._mix_words(source, destination, 9)
        if width == 4:  # whoever complains may have added options
            self._header_length(9)
            self._put(_ADD, 9, 0)
            ports = 0
        # Ours comes first: the other way round than in what they send.
        self._load(4, ports, 9)
        self._put(_MOV, 1, 0)
        self._put(_RIGHT_NUMBER, 1, 0, 16)
        self._put(_LEFT_32_NUMBER, 0, 0, 16)
        self._put(_OR, 0, 1)
        self._mix()

    def _header_length(self, base: int | None = None) -> None:
        """Of the IPv4 header there."""
        self._load(1, 0, base)
        self._put(_AND_NUMBER, 0, 0, 15)
        self._put(_LEFT_NUMBER, 0, 0, 2)

    def code(self) -> bytes:
        self._put(_MOV, 6, 1)
        self._constant(7, self._steering.key)
        self._load(1, 0)
        self._put(_RIGHT_NUMBER, 0, 0, 4)
        self._jump(_IF_EQUAL, 0, 4, "IPv4")
        self._jump(_IF_EQUAL, 0, 6, "IPv6")
        self._put(_MOV_NUMBER, 0, 0, 0)
        self._put(_EXIT)
        self._ipv4()
        self._ipv6()
        self._label("end")
        self._put(_MOV, 0, 7)
        self._put(_RIGHT_NUMBER, 0, 0, 32)
        self._put(_MUL_NUMBER, 0, 0, self._steering.queues)
        self._put(_RIGHT_NUMBER, 0, 0, 32)
        self._put(_EXIT)
        for at, label in self._jumps:
            code, dst, src, _, number = self._code[at]
            self._code[at] = (code, dst, src, self._labels[label] - at - 1, number)
        return b"".join(
            struct.pack("=BBhI", code, _registers(dst, src), offset, number)
            for code, dst, src, offset, number in self._code
        )

    def _ipv4(self) -> None:
        self._label("IPv4")
        self._header_length()
        self._put(_MOV, 9, 0)  # where the IP header ends
        self._load(1, 9)
        self._jump(_IF_EQUAL, 0, icmp.PROTOCOL_V4, "ICMP")
        self._mix_words(12, 20)
        self._mix_words(0, 4, 9)
        self._jump(_GOTO, 0, 0, "end")
        self._label("ICMP")
        self._load(1, 0, 9)
        for error in _ICMPV4_ERRORS:
            self._jump(_IF_EQUAL, 0, error, "ICMP error")
        self._mix_words(12, 20)
        self._jump(_GOTO, 0, 0, "end")
        self._label("ICMP error")
        self._put(_ADD_NUMBER, 9, 0, 8)
        self._mix_quoted(12, 4)
        self._jump(_GOTO, 0, 0, "end")

    def _ipv6(self) -> None:
        self._label("IPv6")
        self._load(1, 6)
        self._put(_MOV, 8, 0)  # the next header
        self._put(_MOV_NUMBER, 9, 0, 40)  # and where it is
        for number in range(ipv6.MAX_EXTENSION_HEADERS):
            self._jump(_IF_EQUAL, 8, ipv6.HOP_BY_HOP, f"extension {number}")
            self._jump(_IF_EQUAL, 8, ipv6.DESTINATION_OPTIONS, f"extension {number}")
            self._jump(_GOTO, 0, 0, "upper layer")
            self._label(f"extension {number}")
            self._load(1, 0, 9)
            self._put(_MOV, 8, 0)
            self._load(1, 1, 9)
            self._put(_LEFT_NUMBER, 0, 0, 3)
            self._put(_ADD, 9, 0)
            self._put(_ADD_NUMBER, 9, 0, 8)
        self._label("upper layer")
        self._jump(_IF_EQUAL, 8, icmp.PROTOCOL_V6, "ICMPv6")
        self._mix_words(8, 40)
        self._mix_words(0, 4, 9)
        self._jump(_GOTO, 0, 0, "end")
        self._label("ICMPv6")
        self._load(1, 0, 9)
        self._jump(_IF_ABOVE, 0, _LARGEST_ICMPV6_ERROR, "ICMPv6 message")
        self._put(_ADD_NUMBER, 9, 0, 8)
        self._mix_quoted(8, 16)
        self._jump(_GOTO, 0, 0, "end")
        self._label("ICMPv6 message")
        self._mix_words(8, 40)
        # and so to the end


def _registers(dst: int, src: int) -> int:
    return src << 4 | dst if struct.pack("=H", 1) == b"\1\0" else dst << 4 | src


def load(code: bytes) -> int:
    """A descriptor of the program, for a socket or a TUN device. Raises OSError."""
    number = _BPF_CALL_NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"no number of bpf(2) is known for {platform.machine()}")
    import ctypes  # takes its time, and few need it

    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    attributes = _PROG_LOAD_ATTR.pack(
        _BPF_PROG_TYPE_SOCKET_FILTER,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(licence),
        *(0, 0, 0, 0, 0),  # no log of the verifier, no kernel version, no flags
        b"aiotcp_steering",
    )
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    command, size = ctypes.c_int(_BPF_PROG_LOAD), ctypes.c_uint(len(attributes))
    for _ in range(_LOAD_ATTEMPTS):
        descriptor: int = libc.syscall(ctypes.c_long(number), command, attributes, size)
        if descriptor >= 0:
            return descriptor
        if ctypes.get_errno() != errno.EAGAIN:
            break
    raise OSError(ctypes.get_errno(), "the kernel does not take eBPF programs from this user")
