"""`aiotcp doctor`: whether this machine has what a stack on a TUN device takes; if not, what mends
it."""

from __future__ import annotations

import errno
import ipaddress
import json as json_format
import os
import platform
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from aiotcp.cli import output
from aiotcp.control import places
from aiotcp.link import machine
from aiotcp.serve import privileges
from aiotcp.stack import DEFAULT_ADDRESSES
from aiotcp.tcp import COMPILED

OK, WARN, FAIL = "ok", "warn", "fail"
_STYLES = {OK: "green", WARN: "yellow", FAIL: "bold red"}
DEVICE = Path("/dev/net/tun")
PROC = Path("/proc")
_CAP_NET_ADMIN = 12
_TRIAL_S = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. mend: a command, or what to do; empty where all is well."""

    name: str
    status: str
    what: str
    mend: str = ""


@click.command(
    epilog="Exit codes: 0 a stack can run here, whatever the warnings say; 1 it can not."
)
@click.option("--json", "json", is_flag=True, help="For programs.")
def command(json: bool) -> None:
    """Look at what a stack on a TUN device needs of this machine, and say what mends the rest.

    A device is made for trial, in a network namespace of its own; nothing is changed.
    """
    findings = list(examine())
    if os.geteuid() == 0:  # and maybe there is no sudo
        findings = [replace(each, mend=each.mend.replace("sudo ", "")) for each in findings]
    if json:
        output.as_json([asdict(finding) for finding in findings])
    else:
        _show(findings)
    if any(finding.status == FAIL for finding in findings):
        raise SystemExit(1)


def _show(findings: list[Finding]) -> None:
    out = output.console()
    width = max(len(finding.name) for finding in findings)
    for each in findings:
        mark = (f"{each.status.upper():<5}", _STYLES[each.status])
        output.line(out, mark, (f"{each.name:<{width}}  ", ""), (each.what, ""), hang=width + 7)
        for line in each.mend.splitlines():
            output.line(out, (" " * (width + 7) + line, "cyan"))
    bad = sum(each.status == FAIL for each in findings)
    doubtful = sum(each.status == WARN for each in findings)
    warnings = "1 warning" if doubtful == 1 else f"{doubtful} warnings"
    words = [f"{bad} failed" if bad else "", warnings if doubtful else ""]
    output.line(out, (", ".join(filter(None, words)) or "all is well", "bold"))


def examine() -> Iterator[Finding]:
    """All of it, one after the other."""
    for look in (_python, _uvloop, _core, _kernel, _memory):
        yield look()
    node = _device_node()
    yield node
    trial = _trial()
    privilege = _privilege(trial)
    yield privilege
    yield from _device(trial, blamed=FAIL in (node.status, privilege.status))
    for each in (_addresses, _ipv6, _rp_filter, _proxies, _sockets):
        yield each()


# -- what runs it -----------------------------------------------------------------------------


def _python() -> Finding:
    version = platform.python_version()
    return Finding("python", OK, f"{platform.python_implementation()} {version}")


def _uvloop() -> Finding:
    if find_spec("uvloop") is None:
        return Finding("uvloop", WARN, "not installed: half the speed", "pip install uvloop")
    return Finding("uvloop", OK, "installed")


def _core() -> Finding:
    if COMPILED:
        return Finding("core", OK, "compiled by mypyc")
    return Finding("core", OK, "Python; AIOTCP_MYPYC=1 pip install . compiles it")


def _kernel() -> Finding:
    if sys.platform != "linux":
        return Finding("kernel", FAIL, f"{sys.platform}: TUN devices are Linux's", "use Linux")
    return Finding("kernel", OK, f"Linux {platform.release()}")


def _memory() -> Finding:
    limit = machine.for_connections()
    what = f"all connections may hold {limit >> 20} MiB; -o memory_limit=… changes that"
    return Finding("memory", OK, what)


# -- the device -------------------------------------------------------------------------------


def _device_node() -> Finding:
    name = str(DEVICE)
    if not DEVICE.exists():
        module = "the kernel's module is loaded" if _has_module() else "its module is not loaded"
        mend = "sudo modprobe tun"
        if _in_container():
            mend = f"run the container with --device {name} (and --cap-add NET_ADMIN)"
        elif _has_module():
            mend = f"sudo sh -c 'mkdir -p {DEVICE.parent} && {_make_node(name)}'"
        return Finding("device node", FAIL, f"there is no {name}, and {module}", mend)
    if not _is_node(DEVICE):
        mend = f"sudo sh -c 'rm -f {name} && {_make_node(name)}'"
        return Finding("device node", FAIL, f"{name} is not the device 10, 200", mend)
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except PermissionError:
        return Finding(
            "device node", FAIL, f"{name} may not be opened by this user", f"sudo chmod 666 {name}"
        )
    except OSError as exc:
        mend = "sudo modprobe tun" if exc.errno in (errno.ENODEV, errno.ENXIO) else ""
        return Finding("device node", FAIL, f"{name}: {exc.strerror}", mend)
    return Finding("device node", OK, f"{name} can be opened")


def _make_node(name: str) -> str:
    return f"mknod {name} c 10 200 && chmod 666 {name}"


def _is_node(path: Path) -> bool:
    found = path.stat()
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == os.makedev(10, 200)


def _has_module() -> bool:
    try:
        return any(line.split()[1] == "tun" for line in (PROC / "misc").read_text().splitlines())
    except (OSError, IndexError):
        return False


def _in_container() -> bool:
    return any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv"))


def _trial() -> dict[str, Any]:
    """In another process: a namespace can be left by ending only."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "aiotcp.cli.trial"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            timeout=_TRIAL_S,
        )
        found = json_format.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as exc:
        return {"error": f"the trial failed: {exc}"}
    return found if isinstance(found, dict) else {}


def _privilege(trial: dict[str, Any]) -> Finding:
    if _capable():
        return Finding("privilege", OK, "CAP_NET_ADMIN: this user may make and set up devices")
    if trial.get("namespace") == "user":
        return Finding("privilege", OK, "none here, but in a user namespace: unshare -Urn bash")
    what = "no CAP_NET_ADMIN" + (
        f", and no user namespaces ({trial['user']})" if "user" in trial else ""
    )
    if os.geteuid() == 0:
        return Finding("privilege", FAIL, what, "run the container with --cap-add NET_ADMIN")
    user = shlex.quote(privileges.own_name())
    mends = (
        f"sudo {shlex.quote(_serve())} … --user {user}",
        f"or once: sudo sh -c 'ip tuntap add dev aiotcp0 mode tun user {user} && "
        "ip address add 192.0.2.1/24 dev aiotcp0 && ip link set aiotcp0 up'",
        "    then: aiotcp-serve … --device aiotcp0 --no-configure --address 192.0.2.2",
        *_namespaces(),
    )
    return Finding("privilege", FAIL, what, "\n".join(mends))


def _serve() -> str:
    """The program, as sudo finds it: not by this user's PATH."""
    places = (Path(sys.argv[0]).absolute().parent, Path(sys.executable).parent)
    for place in (*places, Path(__file__).parents[2] / "bin"):
        if (place / "aiotcp-serve").is_file():
            return str(place / "aiotcp-serve")
    return "aiotcp-serve"


def _capable() -> bool:
    try:
        for line in (PROC / "self" / "status").read_text().splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _CAP_NET_ADMIN & 1)
    except (OSError, ValueError):
        pass
    return False


def _in_user_namespace() -> bool:
    """Whether this user's ids are not all of the machine's."""
    try:
        return (PROC / "self" / "uid_map").read_text().split() != ["0", "0", "4294967295"]
    except OSError:
        return False


def _namespaces() -> list[str]:
    """What may keep users from making namespaces."""
    mends = []
    for name, bad, good in (
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ):
        if _sysctl(name) == bad:
            mends.append(f"sudo sysctl -w {good}")
    return mends


def _sysctl(name: str) -> str | None:
    try:
        return (PROC / "sys" / name).read_text().strip()
    except OSError:
        return None


def _device(trial: dict[str, Any], *, blamed: bool) -> Iterator[Finding]:
    """blamed: something else has failed already."""
    if "tun" not in trial:
        if "namespace" in trial or "error" in trial:
            yield Finding(
                "trial",
                FAIL,
                f"no device could be made: {trial.get('error', 'unknown')}",
                "what failed above comes first" if blamed else "",
            )
        return
    yield Finding("trial", OK, "a device was made, in a namespace of its own")
    if trial.get("offload"):
        yield Finding("offload", OK, "the kernel checksums and segments")
    else:
        yield Finding(
            "offload",
            WARN,
            "the kernel grants none: every packet of the MTU is a system call",
            "a kernel with TUNSETOFFLOAD (4.6); in gVisor there is none",
        )
    if not trial.get("steering"):
        yield Finding("eBPF", OK, "packets are steered to --workers by connection")
        return
    yield Finding(
        "eBPF",
        WARN,
        f"{trial['steering']}: with --workers, connections that the stack opens mostly fail",
        "as root, and not in a user namespace"
        if trial.get("namespace") == "user" or _in_user_namespace()
        else "a kernel with CONFIG_BPF_SYSCALL, and CAP_BPF",
    )


# -- the network ------------------------------------------------------------------------------


def _addresses() -> Finding:
    from aiotcp.link import network

    try:
        network.check_free(network.HOST_ADDRESSES, name="aiotcp0")
    except network.PrefixInUse as exc:
        return Finding("addresses", WARN, exc.strerror or str(exc), _other_addresses())
    except (OSError, ImportError) as exc:
        return Finding("addresses", WARN, f"routes can't be read: {exc}", "pip install pyroute2")
    return Finding("addresses", OK, f"{' and '.join(network.HOST_ADDRESSES)} are free")


def _other_addresses() -> str:
    """Free ones, of those that are for documentation, benchmarks and private networks."""
    from aiotcp.link import network

    for prefix in ("198.51.100", "203.0.113", "198.18.7", "10.213.7", "172.29.213"):
        with suppress(OSError):
            network.check_free((f"{prefix}.1/24",), name="aiotcp0")
            return f"aiotcp-serve … --host-address {prefix}.1/24 --address {prefix}.2"
    return "aiotcp-serve … --host-address ADDRESS/PREFIX --address ADDRESS"


def _ipv6() -> Finding:
    disabled = _sysctl("net/ipv6/conf/all/disable_ipv6")
    if disabled is None:
        return Finding("IPv6", WARN, "the kernel has none: stacks are reached by IPv4 only")
    if disabled != "0":
        return Finding(
            "IPv6",
            WARN,
            "disabled: stacks are reached by IPv4 only",
            "sudo sysctl -w net.ipv6.conf.all.disable_ipv6=0",
        )
    return Finding("IPv6", OK, "on")


def _rp_filter() -> Finding:
    """The larger of `all` and the device's counts; a new device has `default`."""
    values = [_sysctl(f"net/ipv4/conf/{name}/rp_filter") for name in ("all", "default")]
    strictest = max((int(value) for value in values if value and value.isdigit()), default=0)
    if "1" in values and strictest == 1:
        return Finding(
            "rp_filter",
            WARN,
            "strict: what comes from addresses that are not routed to the device is dropped; only "
            "stacks with such addresses notice",
            "sudo sysctl -w net.ipv4.conf.all.rp_filter=2",
        )
    return Finding("rp_filter", OK, "loose" if strictest == 2 else "off")


def _proxies() -> Finding:
    names = ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY")
    found = [name for name in names if os.environ.get(name)]
    if not found:
        return Finding("proxies", OK, "no proxy variables")
    spared = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    address = DEFAULT_ADDRESSES[0]
    if _is_spared(address, spared):
        return Finding("proxies", OK, f"{', '.join(found)} set, but not for {address}")
    also = ",".join(filter(None, (spared, *DEFAULT_ADDRESSES)))
    return Finding(
        "proxies",
        WARN,
        f"{', '.join(found)} set: curl and other clients ask the proxy for the stack's addresses",
        f"export no_proxy={shlex.quote(also)}   (or curl --noproxy '*')",
    )


def _is_spared(address: str, spared: str) -> bool:
    for each in spared.split(","):
        text = each.strip()
        if text in ("*", address):
            return True
        try:
            if "/" in text and ipaddress.ip_address(address) in ipaddress.ip_network(text):
                return True
        except ValueError:
            pass
    return False


def _sockets() -> Finding:
    try:
        place = places.usable_directory()
    except OSError as exc:
        return Finding(
            "sockets",
            WARN,
            f"no place for control sockets: {exc}",
            "aiotcp-serve … --control PATH, and aiotcp … --socket PATH",
        )
    return Finding("sockets", OK, f"control sockets are in {place}")
