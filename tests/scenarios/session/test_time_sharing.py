from broker.client import Client
from broker.protocol import Gone
from scenarios.session.time_sharing import TimeSharing


class Machine:
    """Records which processes are started and ended."""

    def __init__(self) -> None:
        self.did: list[str] = []
        client: Client = self  # type: ignore[assignment]
        self.turns = TimeSharing({"teacher": ["teacher"], "ada": ["ada", "ada.2"], "bob": ["bob"]}, self, client)

    def start_child(self, name: str) -> None:
        self.did.append(f"+{name}")

    def stop_child(self, name: str) -> int:
        self.did.append(f"-{name}")
        return len(name)

    def send(self, message: Gone) -> None:
        self.did.append(f"!{message.name} {message.pid}")

    def check(self, **outstanding: int) -> list[str]:
        self.did.clear()
        self.turns.check(outstanding)
        return self.did


def test_the_first_agent_with_work_runs_first() -> None:
    assert Machine().check(teacher=3) == ["+teacher"]
    assert Machine().check(teacher=0, bob=1) == ["+bob"]


def test_a_turn_lasts_until_nothing_is_left_to_answer() -> None:
    machine = Machine()
    machine.check(teacher=3)
    assert machine.check(teacher=1, ada=5, bob=5) == []
    assert machine.check(teacher=0, ada=5, bob=5) == ["-teacher", "!teacher 7", "+ada", "+ada.2"]
    assert machine.check(ada=0, bob=5) == ["-ada", "!ada 3", "-ada.2", "!ada.2 5", "+bob"]


def test_an_agent_without_work_stays_while_no_other_has_any() -> None:
    machine = Machine()
    machine.check(teacher=3)
    assert machine.check(teacher=0) == []


def test_only_the_current_agent_and_external_ones_are_expected_to_run() -> None:
    machine = Machine()
    machine.check(teacher=3)
    assert machine.turns.present({"teacher": 1, "ada": 2, "visitor": 3}) == {"teacher": 1, "visitor": 3}
