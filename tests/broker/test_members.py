"""Who may say Hello under which name."""

import pytest

from broker.auth import Member
from broker.events import Greeted
from broker.members import Members
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


def greeted(name: str, role: Role, pool: str = "", *, user: str = "", process: int = 0, parent: int = 0) -> Greeted:
    return Greeted(b"x", Hello(name=name, role=role, pool=pool), user, process, parent)


@pytest.mark.parametrize(
    "hello",
    [
        greeted("ann", "student", process=7),
        greeted("ann", "student", user="ann"),
        greeted("ann.2", "student", "ann"),
        greeted("ada", "teacher", "ada", user="ada"),
        greeted("ann", "student", process=7, parent=RUN),
        greeted("bob", "student", process=7, parent=1),
        greeted("classroom", "classroom", process=RUN),
    ],
)
def test_a_peer_that_is_what_its_name_stands_for_may_join(hello: Greeted, members: Members) -> None:
    assert members.objection(hello) == ""


@pytest.mark.parametrize(
    ("hello", "why"),
    [
        (greeted("ann", "student", user="bob"), "has the key of bob"),
        (greeted("ann", "classroom"), "may not have the role classroom"),
        (greeted("classroom", "student"), "may not have the role student"),
        (greeted("monitor", "teacher", user="monitor"), "may not have the role teacher"),
        (greeted("broker", "student"), "may not have the role student"),
        (greeted("eve", "student"), "is no agent of this class"),
        (greeted("ann.3", "student", "ann"), "is no agent of this class"),
        (greeted("ann", "teacher"), "is a student of pool ann, and no teacher of pool ann"),
        (greeted("ann", "student", "bob"), "is a student of pool ann, and no student of pool bob"),
        (greeted("ann.2", "student"), "is a student of pool ann, and no student of pool ann.2"),
        (greeted("ann", "student", process=7, parent=1), "is an agent that run.py starts"),
        (greeted("ann", "student"), "is an agent that run.py starts, and its process is unknown"),
        (greeted("classroom", "classroom"), "is the name of process 100, which still runs"),
        (greeted("classroom", "classroom", process=7), "is the name of process 100, which still runs"),
    ],
)
def test_any_other_peer_may_not(hello: Greeted, why: str, members: Members) -> None:
    assert members.objection(hello).startswith(why)


def test_a_name_belongs_to_the_first_process_until_that_leaves(members: Members) -> None:
    members.join("bob", 7)
    assert "process 7" in members.objection(greeted("bob", "student", process=8))
    members.leave("bob", 9)
    assert "process 7" in members.objection(greeted("bob", "student", process=8))
    members.leave("bob", 7)
    assert members.objection(greeted("bob", "student", process=8)) == ""


def test_the_classroom_keeps_its_name(members: Members) -> None:
    members.leave("classroom")
    assert members.objection(greeted("classroom", "classroom", process=7))
