"""--workers: processes that share one device, and what becomes of connections when one crashes."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import pwd
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aiotcp.link import network
from aiotcp.serve import privileges
from tests.serve.fleet import calling, fleet
from tests.serve.support import ROOT, TIMEOUT_S, curl, ended, serving
from tests.serve.support import public as public
from tests.support import ebpf
from tests.support.netns import has_ipv6
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns")]

CONNECTIONS = 40
"""So many that each of three workers has some: that one has none happens once in three million."""

PR_CAPBSET_DROP, CAP_SYS_ADMIN, CAP_BPF = 24, 21, 39
NOBODY = pwd.getpwnam("nobody")


def give_up_bpf() -> None:
    """In a child, before it starts the program."""
    for capability in (CAP_SYS_ADMIN, CAP_BPF):
        if ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            raise OSError("prctl")


steered = pytest.mark.skipif(bool(ebpf.obstacle()), reason=ebpf.obstacle() or "-")


@pytest.mark.parametrize(
    ("offload", "before"),
    [
        pytest.param("--offload", None, marks=steered),
        pytest.param("--no-offload", None, marks=steered),
        ("--offload", give_up_bpf),
    ],
    ids=["offload", "no-offload", "without eBPF"],
)
def test_connections_survive_the_crash_of_another_worker(
    offload: str, before: Callable[[], None] | None, tmp_path: Path
) -> None:
    with fleet(tmp_path, offload, before=before) as serving:
        with calling(serving.endpoint, CONNECTIONS) as callers:
            processes = serving.processes()
            assert {each.process for each in callers} == processes
            for _ in range(3):
                assert all(each.ask() == each.process for each in callers)

            victim = callers[0].process
            serving.kill_and_wait_for_the_next(victim)
            assert victim not in serving.processes()
            (successor,) = serving.processes() - processes
            for each in callers:
                if each.process != victim:
                    assert each.ask() == each.process
                else:
                    # As from a host that has rebooted: RFC 9293 3.5.1.
                    with pytest.raises(ConnectionResetError):
                        each.ask()
            with calling(serving.endpoint, CONNECTIONS) as others:
                assert {each.process for each in others} == serving.processes()
                assert any(each.process == successor for each in others)
                assert all(each.ask() == each.process for each in callers if each.process != victim)
        serving.terminate()


@pytest.mark.skipif(not has_ipv6(), reason="the kernel has no IPv6")
def test_both_families_share_the_port_and_a_port_may_be_picked(tmp_path: Path) -> None:
    with fleet(tmp_path, "--port", "0", workers=2) as serving:
        first, second = serving.program.endpoints
        with calling(first, 20) as callers, calling(second, 20) as others:
            for each in (callers, others):
                assert {caller.process for caller in each} == serving.processes()
            serving.kill_and_wait_for_the_next(callers[0].process)
        for endpoint in (first, second):
            with calling(endpoint, 20) as callers:
                assert {caller.process for caller in callers} == serving.processes()
        serving.terminate()


# Start and end


def test_sigterm_closes_what_is_open_everywhere_and_ends_all(tmp_path: Path) -> None:
    options = ("--grace", "0.1")
    with (
        fleet(tmp_path, *options, workers=2) as serving,
        calling(serving.endpoint, 10) as callers,
    ):
        serving.terminate()
        said = serving.log.to_the_end()  # which needs all of them to have ended
        assert said.count('"event": "stopped"') == 3
        for each in callers:
            with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
                each.ask()


def test_when_the_supervisor_is_killed_the_workers_end(tmp_path: Path) -> None:
    with fleet(tmp_path, workers=2) as serving:
        serving.program.signal(signal.SIGKILL)
        said = serving.log.to_the_end()
        assert said.count("the supervisor is gone") == 2
        assert said.count('"event": "stopped"') == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_for_all_processes_at_once_is_one_stop(
    number: signal.Signals, tmp_path: Path
) -> None:
    """As service managers and terminals do it."""
    with fleet(tmp_path, workers=2) as serving:
        for process in serving.processes():
            os.kill(process, number)
        serving.program.signal(number)
        assert serving.program.wait() == 0
        assert '"grace_s": 0' not in serving.log.to_the_end()


def test_a_worker_that_was_told_to_end_has_a_successor(tmp_path: Path) -> None:
    with fleet(tmp_path, workers=2) as serving:
        first = min(serving.processes())
        os.kill(first, signal.SIGTERM)
        ended = serving.log.until("worker ended", pid=first)
        assert ended["how"] == "exit code 0"
        serving.log.until("serving", worker=ended["worker"])
        serving.terminate()


def test_a_worker_that_can_not_start_any_more_ends_the_program(tmp_path: Path) -> None:
    with fleet(tmp_path, workers=2) as serving:
        (tmp_path / "broken").touch()
        os.kill(min(serving.processes()), signal.SIGKILL)
        assert serving.program.wait() == 1
        said = serving.log.to_the_end()
        assert "has ended as soon as it started, 5 times in a row: exit code 7" in said
        events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        killed, *failed = [each for each in events if each["event"] == "worker ended"]
        assert killed["how"] == "signal SIGKILL"
        assert {each["how"] for each in failed} == {"exit code 7"}
        # The one that was killed counts if it had not served for a second.
        waits = [0.0, 0.1, 0.2, 0.4]
        assert [each["next_in_s"] for each in failed] in (waits, waits[1:])


def test_what_no_worker_can_do_is_said_once() -> None:
    code, stderr = ended("asgi", "no_such_module:app", "--workers", "3")
    assert code == 8
    assert stderr.count("aiotcp-serve: asgi no_such_module:app: ") == 1
    assert stderr.count("\n") == 1


def test_an_application_that_crashes_at_once_is_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "who.py").write_text("import os\nos._exit(9)\n")
    reading, writing = os.pipe()
    with serving("asgi", "who:app", "--workers", "3", cwd=tmp_path, stderr=writing) as program:
        os.close(writing)
        assert program.wait() == 1
    with os.fdopen(reading) as said:
        assert said.read() == "aiotcp-serve: worker 0 has ended while it started: exit code 9\n"


def test_a_signal_without_a_name_ends_one_worker_only(tmp_path: Path) -> None:
    with fleet(tmp_path, workers=2) as serving:
        os.kill(min(serving.processes()), signal.SIGRTMIN + 6)
        assert serving.log.until("worker ended")["how"] == f"signal {signal.SIGRTMIN + 6}"
        serving.terminate()


def test_an_application_that_is_not_ready_yet_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    (tmp_path / "who.py").write_text(
        "import os, signal, threading\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "threading.Event().wait()\n"
    )
    reading, writing = os.pipe()
    with serving("asgi", "who:app", "--workers", "2", cwd=tmp_path, stderr=writing) as program:
        os.close(writing)
        assert program.wait() == 0
    with os.fdopen(reading) as said:
        assert "killed" not in said.read()


def test_a_ready_descriptor_that_takes_nothing_ends_all(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    command = ("echo", "--workers", "2", "--ready-fd")
    with open("/dev/full", "wb") as full, os.fdopen(reading) as said:
        full_fd = full.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "aiotcp.serve", *command, str(full_fd)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=writing,
            pass_fds=(full_fd,),
        )
        os.close(writing)
        assert process.wait(TIMEOUT_S) == 1
        lines = said.read().splitlines()
    assert lines[-1] == f"aiotcp-serve: --ready-fd {full_fd}: No space left on device"
    assert not any("the supervisor is gone" in line for line in lines)


def test_too_few_descriptors_for_so_many_workers() -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

    code, stderr = ended("echo", "--workers", "12", "--log-level", "warning", before=few)
    assert code == 1
    assert stderr.endswith("has ended while it started: no process for it: Too many open files\n")
    assert stderr.count("\n") == 1


def test_a_worker_that_no_process_is_left_for_ends_the_program(tmp_path: Path) -> None:
    with fleet(tmp_path, workers=2) as serving:
        resource.prlimit(serving.program.process.pid, resource.RLIMIT_NOFILE, (6, 6))
        os.kill(min(serving.processes()), signal.SIGKILL)
        assert serving.program.wait() == 1
        said = serving.log.to_the_end()
        assert "5 times in a row: no process for it: Too many open files" in said
        assert '"event": "stopped"' in said  # the other one


def test_a_device_that_goes_away_ends_the_program(tmp_path: Path) -> None:
    with fleet(tmp_path, "--device", "gone0", workers=2) as serving:
        network.delete("gone0")
        assert serving.program.wait() == 1
        assert serving.log.to_the_end().count("the device gone0 has gone away") == 1


@pytest.mark.skipif(not privileges.is_root(), reason="needs the machine's root")
def test_all_of_them_have_given_up_their_privileges(public: Path) -> None:
    command = ("http", "--root", str(public), "--user", "nobody")
    with fleet(public, command=command, workers=2) as serving:
        serving.kill_and_wait_for_the_next(min(serving.processes()))
        for process in (serving.program.process.pid, *serving.processes()):
            status = Path(f"/proc/{process}/status").read_text()
            assert f"Uid:\t{NOBODY.pw_uid}\t{NOBODY.pw_uid}\t{NOBODY.pw_uid}\t" in status
            assert "CapEff:\t0000000000000000\n" in status
        for _ in range(10):
            assert "who.py" in curl(f"http://{serving.endpoint}/")


# What it says


def test_it_announces_itself_once_and_says_what_is_missing() -> None:
    def announced(before: Callable[[], None] | None) -> str:
        told = ("http", "--workers", "2")
        with serving(*told, stdout=subprocess.PIPE, before=before) as program:
            assert "Live connections" in curl("http://192.0.2.2/")
            program.signal(signal.SIGTERM)
            return program.process.communicate(timeout=TIMEOUT_S)[0]

    said = announced(None)
    assert said.count("serving") == said.count("device") == 1
    assert "offload on, 2 workers\n" in said
    assert "warning: the kernel does not take eBPF programs" in announced(give_up_bpf)


def test_a_device_that_root_has_set_up_for_several_queues() -> None:
    added = ("ip", "tuntap", "add", "dev", "ours0", "mode", "tun")
    command = ("echo", "--device", "ours0", "--no-configure", "--address", "198.51.100.2")
    subprocess.run(added, check=True)
    try:
        code, stderr = ended(*command, "--workers", "2")
        assert code == 1
        assert "ours0 exists and is not a TUN device with several queues (multi_queue)" in stderr
    finally:
        network.delete("ours0")
    subprocess.run([*added, "multi_queue"], check=True)
    try:
        network.configure("ours0", host_addresses=["198.51.100.1/24"])
        with serving(*command, "--workers", "2") as program:
            assert program.endpoints == ["198.51.100.2:7"]
            code, stderr = ended(*command, "--workers", "2")
            assert code == 6
            assert "ours0 is in use by another process" in stderr
    finally:
        network.delete("ours0")
