"""The rules for names: which peer may join under which name."""

import pytest

from broker.members import Member, Members
from broker.protocol import Hello, Role

RUN = 100
"""The classroom's process."""
AGENTS = {
    "ada": Member("teacher", "ada"),
    "ann": Member("student", "ann"),
    "ann.2": Member("student", "ann"),
    "bob": Member("student", "bob"),
}


@pytest.fixture
def members() -> Members:
    return Members(AGENTS, ["ada", "ann"], RUN)


Greeting = tuple[Hello, str, int, int]
"""The arguments of `Members.objection`."""


def greeting(name: str, role: Role, pool: str = "", *, user: str = "", process: int = 0, parent: int = 0) -> Greeting:
    return Hello(name=name, role=role, pool=pool), user, process, parent


@pytest.mark.parametrize(
    "hello",
    [
        greeting("ann", "student", process=7),
        greeting("ann", "student", user="ann"),
        greeting("ann.2", "student", "ann"),
        greeting("ada", "teacher", "ada", user="ada"),
        greeting("ann", "student", process=7, parent=RUN),
        greeting("bob", "student", process=7, parent=1),
        greeting("classroom", "classroom", process=RUN),
    ],
)
def test_a_peer_with_the_role_pool_and_process_of_its_name_may_join(hello: Greeting, members: Members) -> None:
    assert members.objection(*hello) == ""


@pytest.mark.parametrize(
    ("hello", "why"),
    [
        (greeting("ann", "student", user="bob"), "has the key of bob"),
        (greeting("ann", "classroom"), "may not have the role classroom"),
        (greeting("classroom", "student"), "may not have the role student"),
        (greeting("monitor", "teacher", user="monitor"), "may not have the role teacher"),
        (greeting("broker", "student"), "may not have the role student"),
        (greeting("eve", "student"), "is no agent of this class"),
        (greeting("ann.3", "student", "ann"), "is no agent of this class"),
        (greeting("ann", "teacher"), "is a student of pool ann, and no teacher of pool ann"),
        (greeting("ann", "student", "bob"), "is a student of pool ann, and no student of pool bob"),
        (greeting("ann.2", "student"), "is a student of pool ann, and no student of pool ann.2"),
        (greeting("ann", "student", process=7, parent=1), "is an agent that run.py starts"),
        (greeting("ann", "student"), "is an agent that run.py starts, and its process is unknown"),
        (greeting("classroom", "classroom"), "is the name of process 100, which still runs"),
        (greeting("classroom", "classroom", process=7), "is the name of process 100, which still runs"),
    ],
)
def test_a_peer_that_does_not_match_its_name_may_not_join(hello: Greeting, why: str, members: Members) -> None:
    assert members.objection(*hello).startswith(why)


def test_a_name_belongs_to_the_first_process_until_that_leaves(members: Members) -> None:
    members.join("bob", 7)
    assert "process 7" in members.objection(*greeting("bob", "student", process=8))
    members.leave("bob", 9)
    assert "process 7" in members.objection(*greeting("bob", "student", process=8))
    members.leave("bob", 7)
    assert members.objection(*greeting("bob", "student", process=8)) == ""


def test_the_classroom_keeps_its_name(members: Members) -> None:
    members.leave("classroom")
    assert members.objection(*greeting("classroom", "classroom", process=7))
