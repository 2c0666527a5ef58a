from __future__ import annotations

import os
import pwd
import subprocess
import sys

import pytest

from aiotcp.serve import privileges
from aiotcp.serve.problems import BadOptions

root_only = pytest.mark.skipif(
    not privileges.is_root(), reason="needs the machine's root: it becomes someone else"
)


def in_a_child(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "import os\nfrom aiotcp.serve import privileges\n" + program],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_account_has_all_groups_of_the_user() -> None:
    name = pwd.getpwuid(os.getuid()).pw_name
    user = privileges.account(name)
    assert (user.uid, user.gid) == (os.getuid(), pwd.getpwnam(name).pw_gid)
    assert user.gid in user.groups


def test_an_unknown_user_is_a_bad_option() -> None:
    with pytest.raises(BadOptions, match="there is no such user"):
        privileges.account("no-such-user-here")


@root_only
def test_becoming_a_user_gives_up_everything_and_for_good() -> None:
    nobody = pwd.getpwnam("nobody")
    told = in_a_child(
        "privileges.become(privileges.account('nobody'))\n"
        "print(os.getresuid(), os.getresgid(), os.getgroups())\n"
        "try:\n    os.setuid(0)\n    print('root again')\nexcept PermissionError:\n    pass\n"
        "print(privileges.is_root())"
    )
    uid, gid = nobody.pw_uid, nobody.pw_gid
    assert told.splitlines() == [f"{(uid,) * 3} {(gid,) * 3} [{gid}]", "False"]


@root_only
def test_without_root_nobody_becomes_someone_else() -> None:
    told = in_a_child(
        "privileges.become(privileges.account('nobody'))\n"
        "try:\n    privileges.become(privileges.account('root'))\n"
        "except privileges.NoPermission as exc:\n    print(exc.message)\n"
    )
    assert "only root may" in told


@root_only
def test_becoming_oneself_needs_no_privilege() -> None:
    told = in_a_child(
        "user = privileges.account('nobody')\n"
        "privileges.become(user)\n"
        "privileges.become(user)\n"
        "print(os.getresuid())\n"
    )
    assert told.strip() == str((pwd.getpwnam("nobody").pw_uid,) * 3)
