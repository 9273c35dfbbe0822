"""Reading under hypothesis: hostile text ends in a ScenarioError, and what is written out reads back equal."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import ScenarioError
from scenarios.config.load import difference, dump, read
from scenarios.config.schema import Scenario
from tests.scenarios.config.test_load import GOOD

SHIPPED = sorted(Path(__file__).parents[3].joinpath("scenarios").glob("*.yaml"))

# --- whatever the text ----------------------------------------------------------------------------------


def only_scenario_errors(path: Path, data: bytes, *overrides: str) -> None:
    path.write_bytes(data)
    try:
        scenario = read(path, overrides)
    except ScenarioError as error:
        assert 1 <= len(str(error).splitlines()) <= 3, error
    else:
        assert isinstance(scenario, Scenario)


ODD = st.sampled_from(
    ["\t", "\n", "- ", ": ", "? ", "&a ", "*a", "<<: ", "!!int ", "!x ", "|\n", ">\n", "'", '"', "{", "}", "[", "]",
     "#", "%YAML 1.1\n", "---\n", "...\n", "no", "~", "=", "0b_", "1:2", "2020-99-99", "\\UFFFFFFFF", "\x00", "é", ","]
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(text=st.one_of(st.text(max_size=60), st.lists(ODD, max_size=12).map("".join)))
def test_arbitrary_text_raises_nothing_but_scenario_errors(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    only_scenario_errors(path, text.encode("utf-8", "surrogatepass"))
    only_scenario_errors(path, GOOD.encode(), text)
    only_scenario_errors(path, GOOD.encode(), f"teacher.persona={text}")


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_damaged_shipped_file_raises_nothing_but_scenario_errors(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    text = data.draw(st.sampled_from(SHIPPED)).read_text()
    start = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 12))
    changed = text[:start] + data.draw(ODD | st.text(max_size=5)) + text[start + cut :]
    only_scenario_errors(tmp_path_factory.getbasetemp() / "any.yaml", changed.encode("utf-8", "surrogatepass"))


# --- there and back -------------------------------------------------------------------------------------

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
numbers = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(2**63) + 1, 2**63 - 1)
plain = st.recursive(
    st.none() | st.booleans() | integers | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
seconds = st.floats(min_value=1e-6, max_value=1e9)
sampling = st.fixed_dictionaries(
    {"temperature": st.floats(0.01, 5), "top_k": st.sampled_from([0, 2, 50]), "top_p": st.floats(0.01, 1)},
    optional={"max_tokens": st.integers(1, 2000)},
)
agent = st.fixed_dictionaries(
    {},
    optional={
        "model": words.filter(bool),
        "engine": st.sampled_from(["auto", "simulated", "external"]),
        "gpu": st.sampled_from(["auto", "none"])
        | st.integers(0, 8)
        | st.lists(st.integers(0, 8), min_size=1, unique=True),
        "persona": words,
        "capacity": st.integers(0, 500),
        "dtype": st.sampled_from(["auto", "bfloat16", "float16", "float32"]),
        "max_context": st.just(0) | st.integers(2001, 10**6),
        "memory_share": st.none() | st.floats(0.01, 1),
        "engine_args": st.dictionaries(words, plain, max_size=3),
    },
)
task = st.fixed_dictionaries(
    {"problems": st.integers(1, 500), "difficulty": st.floats(0, 2)},
    optional={"templates": st.none() | st.lists(st.integers(0, 90), max_size=5), "demonstrations": st.integers(0, 4)},
)


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    agents = draw(st.lists(agent, min_size=2, max_size=5))
    for number, described in enumerate(agents):
        described["name"] = f"a{number}"
    source = {draw(st.sampled_from(["family", "file"])): draw(words.filter(bool))}
    return {
        "name": draw(st.from_regex("[a-z][a-z0-9_-]{0,31}", fullmatch=True)),
        "seed": draw(integers),
        "task": draw(task) | source,
        "teacher": agents[0],
        "students": agents[1:],
        "lesson": {"sampling": draw(sampling), "rationales": draw(st.integers(1, 300)), "greedy": draw(st.booleans())},
        "exam": {"sampling": draw(sampling), "problems": draw(st.integers(1, 9))},
        "scoring": {"cut_off": draw(st.sampled_from(["graded", "wrong"]))},
        "limits": {"stalled_s": draw(seconds)},
        "broker": {"address": draw(st.sampled_from(["ipc", "tcp://10.0.0.1:5555", "tcp://[::1]:7"]))},
    }


@settings(max_examples=40, deadline=None)
@given(described=scenarios())
def test_a_written_scenario_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, described: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "described.yaml"
    path.write_text(yaml.safe_dump(described), "utf-8", newline="\n")
    scenario = read(path)
    again = path.with_name("again.yaml")
    again.write_text(dump(scenario), "utf-8", newline="\n")
    assert read(again) == scenario
    assert dump(read(again)) == dump(scenario)
    assert difference(scenario, read(again)) == []
