import os
import re
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from broker.errors import PlacementError, ScenarioError

pytest.importorskip("openai", reason="pip install -e '.[openai]'")

from agents import engines
from agents.engines.base import Completion, EngineExhausted, EngineSettings, EngineStartError
from agents.engines.openai.options import Feature, ServerOptions
from agents.placement import agent_process, resolve
from agents.placement.server_keys import check_keys, keys_sent
from scenarios.config import load
from scenarios.config.schema import Agent
from tests.agents.engines.openai import openai_server as faults
from tests.agents.engines.openai.at_a_server import answer, engine, one, prompt, refused_start
from tests.agents.engines.openai.openai_server import Server

# --- the key -------------------------------------------------------------------------------------------------


def test_the_key_comes_from_the_variable_that_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.key = "sk-secret-1234"
    monkeypatch.setenv("CLASS_KEY", " sk-secret-1234\n")
    one(engine(server, key_env="CLASS_KEY"))
    assert set(server.keys) == {"Bearer sk-secret-1234"}


def test_no_key_of_the_surroundings_is_sent_unasked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1234")
    one(engine(server))
    assert not any("secret" in key for key in server.keys)


LIBRARY_VARIABLES = {
    "OPENAI_API_KEY": "sk-of-the-environment",
    "OPENAI_ADMIN_KEY": "sk-of-the-environment",
    "OPENAI_ORG_ID": "org-of-the-environment",
    "OPENAI_PROJECT_ID": "project-of-the-environment",
    "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer of-the-environment\nX-Team: of-the-environment",
    "OPENAI_BASE_URL": "http://127.0.0.1:1/of-the-environment",
}


@pytest.mark.parametrize("key_env", ["", "CLASS_KEY"])
def test_no_other_variable_reaches_the_server(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key_env: str
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login of-the-environment password of-the-environment\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("CLASS_KEY", "sk-secret-1234")
    for name, value in {**LIBRARY_VARIABLES, "NETRC": str(netrc), "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    one(engine(server, key_env=key_env))
    sent = [f"{name}: {value}" for headers in server.headers for name, value in headers.items()]
    assert sent and not [line for line in sent if "of-the-environment" in line or line.startswith("OpenAI-")]
    assert set(server.keys) == {"Bearer sk-secret-1234" if key_env else "Bearer none"}
    assert LIBRARY_VARIABLES.items() <= os.environ.items()


def test_a_redirect_takes_neither_key_nor_prompt_to_another_server(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLASS_KEY", "sk-secret-1234")
    with faults.running() as other:
        server.fault = faults.redirect(f"{other.url}/chat/completions")
        said = refused_start(engine(server, key_env="CLASS_KEY"))
        assert not other.bodies
        assert f"redirects to {other.url}/chat/completions" in said and "change base_url" in said


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1:8000", "localhost:1", "127.9.9.9", "[::1]:8000", "box.localhost"),
        *("0.0.0.0:8000", "[::]:1", "[::ffff:127.0.0.1]:1", "localhost.:1", "localhost.localdomain"),
    ],
)
def test_a_key_goes_unencrypted_to_this_machine(host: str) -> None:
    engines.check_arguments("openai", {"base_url": f"http://{host}/v1", "key_env": "CLASS_KEY"})


@pytest.mark.parametrize("host", ["gpu-box:8000", "10.0.0.7", "localhost.example.com", "127.0.0.1.example.com"])
def test_a_key_goes_unencrypted_to_another_machine_only_where_that_is_allowed(host: str) -> None:
    args: dict[str, Any] = {"base_url": f"http://{host}/v1", "key_env": "CLASS_KEY"}
    with pytest.raises(EngineStartError, match=f"CLASS_KEY unencrypted to {host}.*allow_http") as error:
        engines.check_arguments("openai", args)
    assert error.value.key == ("engine_args", "base_url")
    for allowed in ({"allow_http": True}, {"base_url": f"https://{host}/v1"}, {"key_env": ""}):
        engines.check_arguments("openai", {**args, **allowed})


def test_it_is_said_which_variable_goes_to_which_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def agent(name: str, base_url: str, **args: Any) -> Agent:
        return Agent(name=name, engine="openai", model="m", engine_args={"base_url": base_url, **args})

    monkeypatch.setenv("A_KEY", "a")
    monkeypatch.delenv("B_KEY", raising=False)
    students = [
        agent("ada", "https://one.example/v1", key_env="A_KEY"),
        agent("bob", "http://two.example:8000/v1", key_env="B_KEY", allow_http=True),
        agent("eve", "http://three.example/v1"),
    ]
    agents = resolve.resolve_agents(agent("teacher", "https://one.example/v1", key_env="A_KEY"), students)
    assert keys_sent(agents) == [
        "teacher, ada: sends the key in A_KEY to one.example",
        "bob: sends the key in B_KEY to two.example:8000 (B_KEY is not set)",
        "eve: all its texts go to three.example (no key)",
    ]
    assert {agent.facts()["device"] for agent in agents} == {"server"}
    with pytest.raises(PlacementError, match=r"B_KEY .* is not set") as error:
        check_keys(agents)
    assert (error.value.agent, error.value.key) == ("bob", ("engine_args", "key_env"))
    monkeypatch.setenv("B_KEY", "b")
    check_keys(agents)


def test_a_key_stands_in_no_error_and_no_log(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setenv("CLASS_KEY", "sk-secret-1234")
    server.key = "another"
    made = engine(server, key_env="CLASS_KEY")
    said = refused_start(made)
    assert "wrong key: Bearer ***. Is the key in CLASS_KEY right?" in said
    server.key = "sk-secret-1234"
    one(made, before=lambda: server.faults.append(faults.status(500, "you are sk-secret-1234")))
    refusal = faults.whole(faults.message(None, refusal="not for sk-secret-1234"))
    (refused,) = answer(engine(server, key_env="CLASS_KEY"), prompt(), before=lambda: server.faults.append(refusal))
    assert "not for ***" in str(refused)
    assert "secret" not in said + caplog.text


def test_a_key_that_a_cut_leaves_in_part_stands_in_no_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASS_KEY", "sk-proj-secret-1234")
    server.fault = faults.status(400, "x" * 285 + "sk-proj-secret-1234")
    assert "secr" not in refused_start(engine(server, key_env="CLASS_KEY"))


@pytest.mark.parametrize("value", [None, " ", "two words", "schlüssel"])
def test_a_missing_or_odd_key_is_told_without_showing_it(
    server: Server, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is not None:
        monkeypatch.setenv("CLASS_KEY", value)
    with pytest.raises(EngineStartError, match="CLASS_KEY") as error:
        engine(server, key_env="CLASS_KEY")
    assert value is None or not value.strip() or value not in str(error.value)


# --- money ---------------------------------------------------------------------------------------------------

PRICES: dict[str, Any] = {"price_per_million_prompt": 1e6, "price_per_million_completion": 1e7}
"""One coin for a prompt token, ten for one of the completion."""


def test_spending_is_counted_and_remembered(server: Server, tmp_path: Path) -> None:
    ledger = tmp_path / "spent"
    one(engine(server, **PRICES, ledger=str(ledger)))
    first = float(ledger.read_text())
    usage = one(engine(server, **PRICES, ledger=str(ledger), omit=["prefill"])).usage
    assert float(ledger.read_text()) > first + usage.prompt_tokens + 10 * usage.completion_tokens > first > 100


def test_at_the_budget_the_session_ends_and_the_next_one_does_not_start(server: Server, tmp_path: Path) -> None:
    options: dict[str, Any] = {**PRICES, "ledger": str(tmp_path / "spent"), "max_parallel": 1}
    one(engine(server, **options))
    budget = float((tmp_path / "spent").read_text()) * 2 + 100
    outcomes = answer(engine(server, **options, budget=budget), *(prompt(f"{n}?") for n in range(4)))
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds[0] is Completion and kinds[-1] is EngineExhausted
    assert "the budget is spent" in str(outcomes[-1]) and "larger" in str(outcomes[-1])
    calls = len(server.bodies)
    assert "the budget is spent" in refused_start(engine(server, **options, budget=budget))
    assert len(server.bodies) == calls
    assert one(engine(server, **options, budget=10 * budget)).text == " 5\nAnswer: it"


def test_an_answer_that_broke_off_is_paid_for(server: Server, tmp_path: Path) -> None:
    ledger = tmp_path / "spent"
    before: list[float] = []

    def break_it() -> None:
        before.append(float(ledger.read_text()))
        server.faults.append(faults.cut)

    usage = one(engine(server, **PRICES, ledger=str(ledger)), before=break_it).usage
    whole = usage.prompt_tokens + 10 * usage.completion_tokens
    assert float(ledger.read_text()) > before[0] + whole + 10


def test_a_ledger_that_cannot_be_read_is_no_empty_one(server: Server, tmp_path: Path) -> None:
    (tmp_path / "spent").write_text("much")
    with pytest.raises(EngineStartError, match="what was spent"):
        engine(server, **PRICES, ledger=str(tmp_path / "spent"))


# --- arguments -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "base_url"),
        ({"base_url": "http://h/v1", "max_paralel": 3}, "max_paralel"),
        ({"base_url": "http://h/v1", "max_parallel": 0}, "max_parallel"),
        ({"base_url": "http://h/v1", "retries": -1}, "retries"),
        ({"base_url": "localhost:8000/v1"}, "no address of a server"),
        ({"base_url": "http://h:99999/v1"}, "no address of a server"),
        ({"base_url": "http:// h/v1"}, "no address of a server"),
        ({"base_url": "http://user:word@h/v1"}, "holds more than an address"),
        ({"base_url": "http://h/v1?api-key=x"}, "holds more than an address"),
        ({"base_url": "http://h/v1", "key_env": "sk-abc"}, "name of an environment variable"),
        ({"base_url": "https://h/v1", "key_env": "HOME"}, "must end in KEY or TOKEN"),
        ({"base_url": "http://h/v1", "budget": 3}, "price_per_million_prompt"),
        ({"base_url": "http://h/v1", "omit": ["sed"]}, "omit"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_starts(options: dict[str, Any], says: str) -> None:
    with pytest.raises(EngineStartError) as error:
        engines.check_arguments("openai", options)
    assert says in str(error.value)
    assert "word" not in str(error.value).replace("password", "")


def test_the_page_in_docs_names_every_argument_and_its_example_can_be_used() -> None:
    page = (Path(__file__).parents[4] / "docs" / "servers.md").read_text()
    table = page.partition("## `engine_args`")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.M)) == set(ServerOptions.__struct_fields__) - {"ledger", "notes"}
    features = re.findall(r"`(\w+)`", table.partition("never sent:")[2].partition("|")[0])
    assert sorted(features) == sorted(get_args(Feature))
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
    teacher = yaml.safe_load(example)["teacher"]
    assert teacher["engine"] == "openai"
    engines.check_arguments("openai", teacher["engine_args"])


# --- who answers ---------------------------------------------------------------------------------------------


def answerer(model: str = "small", **options: Any) -> str:
    args = {"base_url": "https://h/v1", **options}
    wanted = Agent(name="ada", engine="openai", model=model, engine_args=args)
    _, agents = resolve.resolve_agents(Agent(name="teacher", engine="simulated"), [wanted])
    key = Path("/run/answer-key")
    told = agent_process.agent_spec(agents, {}, seed=1, endpoint="ipc://x", keys="", answer_key=key, run=key.parent)
    assert told.engine_args["ledger"] == "/run/spent-ada"
    assert told.engine_args["notes"] == "/run/server-ada"
    return told.answerer


def test_another_model_or_server_is_another_answerer() -> None:
    others = {answerer("large"), answerer(base_url="https://other/v1"), answerer(omit=["seed"])}
    others.add(answerer(break_role_marks=False))
    assert len(others | {answerer()}) == 5


FREE: dict[str, Any] = {
    "key_env": "KEY",
    "allow_http": True,
    "max_parallel": 2,
    "tokens_per_minute": 9,
    "timeout_s": 9.0,
    "retries": 1,
    **PRICES,
    "budget": 3.0,
}


def test_limits_prices_and_the_name_of_the_key_are_nobody_else() -> None:
    assert answerer(**FREE) == answerer()
    decisive = {"base_url", "omit", "break_role_marks"}
    assert set(ServerOptions.__struct_fields__) == FREE.keys() | decisive | {"ledger", "notes"}


def test_limits_prices_and_budget_may_change_when_a_class_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "class.yaml"
    file.write_text(
        "name: small\ntask: {family: chain_sum, problems: 2}\nteacher: {name: teacher, engine: simulated}\n"
        "students:\n  - {name: ada, engine: openai, model: m, engine_args: {base_url: https://h/v1}}\n"
    )
    was = load.read(file)
    free = load.read(file, [f"students.0.engine_args.{name}={value}" for name, value in FREE.items()])
    assert load.difference(was, free) and not load.asked_differs(was, free)
    other = load.read(file, ["students.0.engine_args.base_url=http://other/v1"])
    assert load.asked_differs(was, other, ["teacher"])
    assert not load.asked_differs(was, other, ["ada"])


def test_an_agent_at_a_server_needs_the_name_of_a_model(tmp_path: Path) -> None:
    file = tmp_path / "class.yaml"
    file.write_text(
        "name: small\ntask: {family: chain_sum, problems: 2}\nteacher: {name: teacher, engine: openai}\n"
        "students:\n  - {name: ada, engine: simulated}\n"
    )
    with pytest.raises(ScenarioError, match="the name that the server knows"):
        load.read(file)


def test_a_package_that_is_missing_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "agents.engines.openai.engine", None)
    with pytest.raises(EngineStartError, match=r"pip install -e '.\[openai\]'"):
        engines.make("openai", EngineSettings(model="m", folder=None, capacity=0, threads=1))
