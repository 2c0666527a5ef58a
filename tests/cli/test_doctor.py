"""`aiotcp doctor` on machines that lack one thing or another."""

from __future__ import annotations

import json
import os
import pwd
import re
from pathlib import Path
from typing import Any

import pytest

from aiotcp.cli import doctor
from aiotcp.control import places
from aiotcp.link import machine as memory
from aiotcp.link import network
from tests.cli.support import invoke
from tests.support.netns import netns as netns

WELL = {"namespace": "root", "tun": "aiotcpdoctor", "offload": True, "steering": ""}


class Machine:
    """What doctor looks at, as files; and what came of the trial."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.device = root / "tun"
        self.device.touch()
        self.trial: dict[str, Any] = dict(WELL)
        self.write("self/status", "Name:\tx\nCapEff:\t000001ffffffffff\n")
        self.write("self/uid_map", "         0          0 4294967295\n")
        self.write("misc", "200 tun\n")
        self.write("sys/net/ipv6/conf/all/disable_ipv6", "0\n")
        for name in ("all", "default"):
            self.write(f"sys/net/ipv4/conf/{name}/rp_filter", "0\n")

    def write(self, name: str, text: str) -> None:
        path = self.root / "proc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setattr(doctor, "PROC", tmp_path / "proc")
    monkeypatch.setattr(doctor, "DEVICE", made.device)
    monkeypatch.setattr(doctor, "_is_node", lambda path: path.read_text() == "")
    monkeypatch.setattr(doctor, "_trial", lambda: made.trial)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(places, "usable_directory", lambda: tmp_path)
    monkeypatch.setattr(doctor, "_in_container", lambda: False)
    monkeypatch.setattr(network, "check_free", lambda addresses, name: None)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return made


def found(code: int) -> dict[str, dict[str, str]]:
    """Its findings by name. code: how it is to exit."""
    result = invoke("doctor", "--json")
    assert result.exit_code == code, result.output
    return {each["name"]: each for each in json.loads(result.output)}


def test_where_nothing_is_missing_all_is_well(machine: Machine) -> None:
    assert {each["status"] for each in found(0).values()} == {"ok"}
    told = invoke("doctor")
    assert told.exit_code == 0
    assert told.output.splitlines()[-1] == "all is well"


def test_it_tells_what_connections_may_hold(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "for_connections", lambda: 96 << 20)
    assert "all connections may hold 96 MiB" in found(0)["memory"]["what"]


@pytest.mark.parametrize(
    ("in_container", "loaded", "mend"),
    [
        (True, False, "--device"),
        (False, False, "modprobe tun"),
        (False, True, "mknod"),
    ],
)
def test_without_a_device_node_it_says_how_to_get_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, in_container: bool, loaded: bool, mend: str
) -> None:
    monkeypatch.setattr(doctor, "_in_container", lambda: in_container)
    machine.device.unlink()
    machine.write("misc", "200 tun\n" if loaded else "231 snapshot\n")
    machine.trial = {"namespace": "root", "error": f"there is no {machine.device}"}
    seen = found(1)
    assert seen["device node"]["status"] == seen["trial"]["status"] == "fail"
    assert mend in seen["device node"]["mend"]
    told = invoke("doctor").output
    assert "FAIL device node" in told
    assert told.splitlines()[-1] == "2 failed"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_a_device_node_that_may_not_be_opened(machine: Machine) -> None:
    machine.device.chmod(0)
    assert "chmod 666" in found(1)["device node"]["mend"]


def test_without_privilege_there_are_user_namespaces_or_commands_that_mend_it(
    machine: Machine,
) -> None:
    machine.write("self/status", "CapEff:\t0000000000000000\n")
    machine.trial |= {"namespace": "user", "steering": "eBPF is not allowed"}
    seen = found(0)
    assert seen["privilege"]["status"] == "ok"
    assert "unshare -Urn" in seen["privilege"]["what"]
    assert seen["eBPF"]["status"] == "warn"
    machine.trial = {"root": "Operation not permitted", "user": "Operation not permitted"}
    machine.write("sys/kernel/unprivileged_userns_clone", "0\n")
    machine.write("sys/kernel/apparmor_restrict_unprivileged_userns", "1\n")
    mends = found(1)["privilege"]["mend"].splitlines()
    user = pwd.getpwuid(os.getuid()).pw_name
    assert re.fullmatch(rf"sudo /.*/aiotcp-serve … --user {user}", mends[0]), "found by sudo, too"
    made = f"or once: sudo sh -c 'ip tuntap add dev aiotcp0 mode tun user {user} && "
    assert mends[1].startswith(made)
    assert "ip address add 192.0.2.1/24" in mends[1]
    assert "sudo sysctl -w kernel.unprivileged_userns_clone=1" in mends
    assert "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" in mends


def test_root_without_privilege_is_in_a_container(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    machine.write("self/status", "CapEff:\t0000000000000000\n")
    machine.trial = {"namespace": "root", "error": "not permitted"}
    seen = found(1)
    assert seen["privilege"]["what"] == "no CAP_NET_ADMIN"
    assert seen["privilege"]["mend"] == "run the container with --cap-add NET_ADMIN"
    assert seen["trial"]["mend"] == "what failed above comes first"


def test_a_node_that_is_something_else(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.device.write_text("something")
    mend = found(1)["device node"]["mend"]
    assert mend.startswith(f"sudo sh -c 'rm -f {machine.device} && mknod {machine.device} c 10 200")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert found(1)["device node"]["mend"].startswith("sh -c 'rm -f ")


def test_ebpf_is_for_root_outside_of_user_namespaces(machine: Machine) -> None:
    machine.trial["steering"] = "eBPF is not allowed"
    assert "CONFIG_BPF_SYSCALL" in found(0)["eBPF"]["mend"]
    machine.write("self/uid_map", "0 1000 1\n")
    assert found(0)["eBPF"]["mend"] == "as root, and not in a user namespace"


def test_what_is_there_but_not_as_it_could_be_is_a_warning(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clash(addresses: tuple[str, ...], name: str) -> None:
        if addresses[0].startswith(("192.", "198.51.")):
            raise network.PrefixInUse("192.0.2.0/24", "eth7", "routed through")

    monkeypatch.setattr(network, "check_free", clash)
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "localhost")
    machine.trial |= {"offload": False}
    machine.write("sys/net/ipv6/conf/all/disable_ipv6", "1\n")
    machine.write("sys/net/ipv4/conf/default/rp_filter", "1\n")
    seen = found(0)
    assert {name for name, each in seen.items() if each["status"] == "warn"} == {
        *("addresses", "offload", "IPv6", "rp_filter", "proxies"),
    }
    assert "eth7" in seen["addresses"]["what"]
    free = "--host-address 203.0.113.1/24 --address 203.0.113.2"
    assert free in seen["addresses"]["mend"], "and not the next best, which are taken as well"
    assert "export no_proxy=localhost,192.0.2.2," in seen["proxies"]["mend"]
    assert "rp_filter=2" in seen["rp_filter"]["mend"]
    monkeypatch.setenv("no_proxy", "localhost,192.0.2.0/24")
    machine.write("sys/net/ipv4/conf/all/rp_filter", "2\n")
    seen = found(0)
    assert seen["proxies"]["status"] == seen["rp_filter"]["status"] == "ok"


@pytest.mark.tun
@pytest.mark.usefixtures("netns")
def test_the_trial_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = found(0)
    assert seen["trial"]["status"] == "ok"
    assert seen["addresses"]["status"] == "ok"
