from broker.client import Client
from broker.protocol import Gone
from scenarios.session.time_sharing import Turns


class Stage:
    """Records who comes and goes."""

    def __init__(self) -> None:
        self.did: list[str] = []
        client: Client = self  # type: ignore[assignment]
        self.turns = Turns({"teacher": ["teacher"], "ada": ["ada", "ada.2"], "bob": ["bob"]}, self, client)

    def bring(self, name: str) -> None:
        self.did.append(f"+{name}")

    def send_away(self, name: str) -> int:
        self.did.append(f"-{name}")
        return len(name)

    def send(self, message: Gone) -> None:
        self.did.append(f"!{message.name} {message.pid}")

    def look(self, **outstanding: int) -> list[str]:
        self.did.clear()
        self.turns.look(outstanding)
        return self.did


def test_the_first_with_work_begins() -> None:
    assert Stage().look(teacher=3) == ["+teacher"]
    assert Stage().look(teacher=0, bob=1) == ["+bob"]


def test_a_turn_lasts_until_nothing_is_left_to_answer() -> None:
    stage = Stage()
    stage.look(teacher=3)
    assert stage.look(teacher=1, ada=5, bob=5) == []
    assert stage.look(teacher=0, ada=5, bob=5) == ["-teacher", "!teacher 7", "+ada", "+ada.2"]
    assert stage.look(ada=0, bob=5) == ["-ada", "!ada 3", "-ada.2", "!ada.2 5", "+bob"]


def test_nobody_is_sent_away_while_nobody_else_has_work() -> None:
    stage = Stage()
    stage.look(teacher=3)
    assert stage.look(teacher=0) == []


def test_only_those_who_should_be_there_are_missed() -> None:
    stage = Stage()
    stage.look(teacher=3)
    assert stage.turns.here({"teacher": 1, "ada": 2, "visitor": 3}) == {"teacher": 1, "visitor": 3}
