"""The benchmark `peers` in its smallest form: a model that answers at once, and no vLLM."""

from pathlib import Path

import pytest

from agents import engines
from tests import bigrams
from tests.benchmarks.peers import Measured, measure, report
from tests.benchmarks.peers_class import Work, covered
from tests.benchmarks.peers_others import Way, reference, ways

WORK = Work(problems=1, rationales=2, exams=2, max_tokens=8, seed=3, family="chain_sum")


def test_a_class_and_the_way_of_the_paper_answer_the_same_exams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "vllm_build", lambda: "")
    others = {"reference": Way("", reference, ""), "absent": Way("", reference, "it is not installed")}
    found = measure(bigrams.model(tmp_path / "model"), WORK, rounds=1, others=others)
    assert set(found["rounds"]) == {"reference", "class, transformers"}
    assert found["left out"]["absent"] == "it is not installed" and "class, vllm" in found["left out"]
    (theirs,), (ours,) = (
        [Measured(*each) for each in found["rounds"][name]] for name in ("reference", "class, transformers")
    )
    assert ours.same == theirs.same == 1.0 and ours.tokens_per_answer == theirs.tokens_per_answer > 1
    assert ours.over_busy > 0, ours
    assert "class, transformers" in found["table"]
    assert any(goal.startswith("times bare vLLM") and "not measured" in goal for goal in found["goals"])


def test_the_ratios_are_those_of_each_round_and_the_goals_say_whether_they_are_met() -> None:
    def rounds(*speeds: float, over_busy: float = 0.0) -> list[Measured]:
        return [Measured(speed, 10 * speed, 10.0, 2.0, 1500.0, 1.0, over_busy) for speed in speeds]

    found = report(
        {
            "reference": rounds(1.0, 2.0),
            "bare vLLM": rounds(20.0, 40.0),
            "class, transformers": rounds(8.0, 10.0, over_busy=1.2),
            "class, vllm": rounds(19.0, 44.0, over_busy=1.01),
        },
        {},
    )
    assert found["times the reference"] == {"class, transformers": (6.5, 5.0, 8.0), "class, vllm": (20.5, 19.0, 22.0)}
    assert found["goals"] == [
        "times reference, answers/s: 20.50 (goal 10: met)",
        "times bare vLLM, answers/s: 1.02 (goal 0.97: met)",
        "class, transformers: whole time over the student's busy time: 1.20 (goal 1.05: not met)",
        "class, vllm: whole time over the student's busy time: 1.01 (goal 1.05: met)",
    ]
    assert "| bare vLLM | 30.00 (20.00 to 40.00) | 300 (200 to 400) | 10.0 |" in found["table"]


def test_busy_seconds_count_once_where_requests_overlap() -> None:
    assert covered([(5.0, 6.0), (0.0, 2.0), (1.0, 3.0), (1.0, 1.5)]) == 4.0


def test_a_model_without_a_gguf_file_leaves_llama_cpp_out() -> None:
    assert "no GGUF file" in ways("somebody/else")["llama.cpp server"].missing
