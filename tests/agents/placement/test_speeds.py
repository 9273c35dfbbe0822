"""Which speed each agent has on paper, and what is said where none is known."""

from typing import Any

import msgspec
import pytest

from agents.placement import hardware, resolve
from agents.placement.speeds import PUBLISHED, process_speeds
from broker.errors import PlacementError
from scenarios.config.schema import Agent

LLAMA, LARGE = "meta-llama/Meta-Llama-3-8B-Instruct", "meta-llama/Meta-Llama-3-70B-Instruct"
H100 = "gpus=8xH100"
SERVER = {"base_url": "https://api.openai.com/v1"}


def found(*agents: Agent, machine: str = H100, rates: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    there = hardware.described_machine([machine, "memory=2000", "cores=64"])
    return process_speeds(resolve.resolve_agents(agents[0], agents[1:], there), there, rates)


def test_a_published_speed_is_found_by_model_engine_and_gpus() -> None:
    large, small, again = found(
        Agent(name="teacher", model=LARGE, engine="vllm", gpu=(0, 1, 2, 3)),
        Agent(name="llama", model=LLAMA, engine="vllm", replicas=2),
    )
    assert (large["tokens_per_second"], large["measured_with"], large["devices"]) == (3543, 256, ("0", "1", "2", "3"))
    assert (small["agent"], again["agent"]) == ("llama", "llama")
    assert (small["tokens_per_second"], small["at_once"]) == (8088, 256)
    assert small["devices"] != again["devices"]
    assert "LambdaLabsML" in small["source"]


def test_a_folder_is_known_by_its_last_part_and_capacity_is_the_scenarios() -> None:
    (one,) = found(Agent(name="teacher", model="org/META-Llama-3.1-8B-Instruct", engine="vllm", capacity=100))
    assert (one["tokens_per_second"], one["at_once"]) == (8088, 100)


def test_simulated_agents_are_as_fast_as_their_arguments_say() -> None:
    (one,) = found(Agent(name="t", engine="simulated", engine_args={"tokens_per_second": 50.0}), machine="gpus=80")
    assert (one["alone"], one["at_once"], one["tokens_per_second"]) == (50, 32, 1600)
    assert one["devices"] == ()


def test_a_server_gives_every_call_the_published_speed() -> None:
    (few,) = found(Agent(name="t", model="gpt-4o", engine="openai", engine_args=SERVER))
    (many,) = found(Agent(name="t", model="gpt-4o", engine="openai", engine_args=SERVER | {"max_parallel": 100}))
    assert (few["at_once"], few["tokens_per_second"]) == (8, pytest.approx(8 * 63.3))
    assert (many["at_once"], many["alone"], many["devices"]) == (100, 63.3, ())


def test_a_given_rate_replaces_the_published_one_and_serves_unknown_models() -> None:
    teacher, student = found(
        Agent(name="teacher", model=LLAMA, engine="vllm"),
        Agent(name="own", model="org/own-8b", engine="transformers"),
        rates=("own=900.5@64/30000", "teacher=10000@512"),
    )
    assert (teacher["tokens_per_second"], teacher["measured_with"]) == (10_000, 512)
    assert (student["tokens_per_second"], student["prompt_tokens_per_second"]) == (900.5, 30_000)
    assert student["alone"] == pytest.approx(900.5 / 64)
    assert student["source"] == "--rate own=900.5@64/30000"


def test_an_external_agent_takes_as_many_requests_as_its_rate_was_measured_with() -> None:
    teacher, far = Agent(name="teacher", engine="simulated"), Agent(name="far", model="own", engine="external")
    assert found(teacher, far, rates=("far=100@10",))[1]["at_once"] == 10
    assert found(teacher, msgspec.structs.replace(far, capacity=4), rates=("far=100@10",))[1]["at_once"] == 4


def test_agents_on_the_cpu_share_it() -> None:
    (one,) = found(
        Agent(name="t", model="smollm2-135m-instruct", engine="transformers", gpu="none"), rates=("t=200@16",)
    )
    assert (one["devices"], one["at_once"]) == (("CPU",), 32)


def agent(model: str, engine: str = "vllm", **more: Any) -> Agent:
    return msgspec.convert({"name": "t", "model": model, "engine": engine} | more, Agent)


@pytest.mark.parametrize(
    ("agent", "machine", "message"),
    [
        (agent("org/own-8b"), H100, "speed of org/own-8b with vllm on 1 x H100 is not known"),
        (
            agent(LLAMA),
            "gpus=8x80",
            r"on 1 x 80 GB is not known; it is known with vllm on 1 x H100 \(--set machine.gpus",
        ),
        (agent(LLAMA, "transformers"), H100, "with transformers on 1 x H100 is not known; it is known with vllm"),
        (agent(LLAMA, gpu=[0, 1]), H100, "on 2 x H100 is not known; it is known with vllm on 1 x H100"),
        (agent("smollm2-135m-instruct", "transformers", gpu="none"), H100, "on a CPU is not known"),
        (agent("gpt-9", "openai", engine_args=SERVER), H100, "gpt-9 with openai on a server is not known"),
        (agent("own", "external"), H100, "own with external elsewhere is not known"),
    ],
)
def test_an_unknown_speed_is_refused_with_what_is_known_and_how_to_give_it(
    agent: Agent, machine: str, message: str
) -> None:
    with pytest.raises(PlacementError, match=message) as refused:
        found(agent, machine=machine)
    assert refused.value.agent == "t"
    assert "give it: --rate NAME=8000@256/50000" in str(refused.value)
    assert len(str(refused.value).splitlines()) <= 3


def test_all_agents_without_a_known_speed_are_named_at_once() -> None:
    agents = [
        agent("org/own-8b", name="ada"),
        agent("org/own-8b", name="bob", replicas=2),
        agent(LLAMA, "transformers", name="cyd"),
        agent(LLAMA, name="dan"),
    ]
    with pytest.raises(PlacementError) as refused:
        found(*agents)
    first, how = str(refused.value).splitlines()
    assert first == (
        "the speeds of these agents are not known: ada and bob (org/own-8b with vllm on 1 x H100), "
        f"cyd ({LLAMA} with transformers on 1 x H100; known with vllm on 1 x H100)"
    )
    assert how.startswith("give one --rate for each: --rate NAME=8000@256/50000")


@pytest.mark.parametrize(
    "rate",
    [
        *("t", "t=", "t=fast@3", "t=0@3", "t=5@0", "t=5", "t=5@3/0", "t=5@3/x", "=5@3", "t=-5@3", "t=5.5.5@3"),
        *("t=nan@3", f"t={9**400}@3", f"t=5@{9**400}", f"t=0.{'0' * 320}1@3", f"t=5@3/{9**400}"),
    ],
)
def test_a_rate_that_cannot_be_read_is_refused_with_its_form(rate: str) -> None:
    with pytest.raises(PlacementError, match=r"cannot be read; --rate NAME=8000@256/50000"):
        found(Agent(name="t", engine="simulated"), rates=(rate,))


def test_a_rate_of_nobody_and_two_rates_of_one_agent_are_refused() -> None:
    agents = (Agent(name="teacher", engine="simulated"), Agent(name="ada", engine="simulated"))
    with pytest.raises(PlacementError, match="--rate bob=5@3: no agent has this name; there are ada, teacher"):
        found(*agents, rates=("bob=5@3",))
    with pytest.raises(PlacementError, match="ada has two rates; give one"):
        found(*agents, rates=("ada=5@3", "ada=6@3"))


def test_every_published_speed_has_a_source_and_one_request_is_no_faster_than_all() -> None:
    for one in PUBLISHED:
        assert "." in one.source
        assert one.alone > 0
        if one.gpu:
            assert one.alone < one.tokens_per_second < one.alone * one.measured_with
            assert all(name == name.lower() for name in one.models)
