"""Thoughts are no part of an answer, whichever engine it comes from."""

from typing import Any

import pytest

from agents.engines.base import Completion
from agents.engines.thoughts import Parts, completion, split
from agents.spec import AgentSpec
from broker.work_messages import Usage


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("<think>2 + 3</think>Answer: 5", "Answer: 5"),
        ("\n <think>\n2 + 3\n</think>\n\nAnswer: 5", "\n\nAnswer: 5"),
        ("<think>\n\n</think>\n\nAnswer: 5", "\n\nAnswer: 5"),
        ("2 + 3</think>Answer: 5", "Answer: 5"),
        ("<THINK>2 + 3</Think>Answer: 5", "Answer: 5"),
        ("<thinking>2 + 3</thinking>Answer: 5", "Answer: 5"),
        ("<thought>2 + 3</thought>Answer: 5", "Answer: 5"),
        ("<seed:think>2 + 3</seed:think>Answer: 5", "Answer: 5"),
        ("[THINK]2 + 3[/THINK]Answer: 5", "Answer: 5"),
        ("◁think▷2 + 3◁/think▷Answer: 5", "Answer: 5"),
        ("<|begin_of_thought|>2<|end_of_thought|>\n<|begin_of_solution|>Answer: 5<|end_of_solution|>", "Answer: 5"),
        ("<|START_THINKING|>2<|END_THINKING|><|START_RESPONSE|>Answer: 5<|END_RESPONSE|>", "Answer: 5"),
        ("<|channel|>analysis<|message|>2<|end|><|start|>assistant<|channel|>final<|message|>Answer: 5", "Answer: 5"),
        ("Here is my thought process: 2 + 3\n\nHere is my response: Answer: 5", " Answer: 5"),
        ("Here's my thought process:\n2 + 3\nHere's my response:\nAnswer: 5", "\nAnswer: 5"),
        ("<think>a</think><think>b</think>Answer: 5", "Answer: 5"),
        ("<think>a <think>b</think> c</think>Answer: 5", "Answer: 5"),
        ("<think>the tag <think> is wrong</think>Answer: 5", "Answer: 5"),
        ("<think>I end with `</think>` now</think>Answer: 5", "Answer: 5"),
        ("a</think>b</think>Answer: 5", "Answer: 5"),
        ("<think>2 + 3</think>.5", ".5"),
        ("Let me see.\n<think>2</think>Answer: 5", "Let me see.\nAnswer: 5"),
        ("Well. <think>a</think>b\n[THINK]c[/THINK]\nAnswer: 5", "Well. b\n\nAnswer: 5"),
        ("<think>a</think>b\n<think>c <think>d</think></think>Answer: 5", "b\nAnswer: 5"),
        ("Answer: 5\n<think>Is it?</think>", "Answer: 5\n"),
        ("<think>2 + 3", ""),
        ("<think>", ""),
    ],
)
def test_an_answer_begins_after_its_thoughts(said: str, answer: str) -> None:
    assert split(said).answer == answer


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Answer: 5",
        "The tag <think> opens, and </think> closes. Answer: 5",
        "In HTML `</think>` is no tag. Answer: 5",
        'No: "</think>" is wrong. Answer: 5',
        "It closes with </think>. Answer: 5",
        "`<think>` opens it. Answer: 5",
        "It is:\n<think> in HTML. Answer: 5",
        "It is:\n`<think>` and\n`</think>`. Answer: 5",
        "5 <think 6",
        "Here is my response: 5",
        "Here is my thought process: 2 + 3 = 5. Answer: 5",
        "I think> so",
    ],
)
def test_an_answer_without_thoughts_stays_as_it_is(said: str) -> None:
    assert split(said) == Parts("", said)


@pytest.mark.parametrize("said", ["<think>so <think>a</think> and", "[THINK]a", "Here is my thought process: 2 + 3"])
def test_thoughts_that_are_cut_off_have_no_answer(said: str) -> None:
    assert split(said, "length") == Parts(said, "")


def test_thoughts_within_an_answer_that_are_cut_off_leave_what_was_said_before() -> None:
    assert split("Let me see.\n<think>Answer: 4", "length") == Parts("<think>Answer: 4", "Let me see.\n")


def test_an_answer_after_thoughts_may_speak_of_marks() -> None:
    said = "<think>HTML?</think>The tag <think> opens, and </think> closes."
    assert split(said).answer == "The tag <think> opens, and </think> closes."


def test_thoughts_are_counted_by_characters_and_the_beginning_is_not_said_twice() -> None:
    usage = Usage(prompt_tokens=9, completion_tokens=40)
    said = "<think>1234567</think>Solution: 12345678"
    found = completion(said, "Solution:", usage, keep=False)
    assert (found.text, found.usage.thought_tokens) == (" 12345678", 22)
    assert found.usage.completion_tokens == 40
    assert completion(said, "Solution:", usage, keep=True) == Completion(said, usage)
    assert completion("<think>\n</think> 5", "", usage, keep=False) == Completion(" 5", usage)
    assert completion("Solution: 5", "Solution:", usage, keep=False) == Completion("Solution: 5", usage)


def test_only_keeping_thoughts_makes_another_answerer() -> None:
    def answerer(**more: Any) -> str:
        told: dict[str, Any] = {"name": "a", "pool": "a", "role": "student", "endpoint": "", "model": "m", "seed": 1}
        return AgentSpec(**told, weights="w", engine="vllm", device="", prompts="1", **more).answerer

    assert answerer() == answerer(thoughts="drop") != answerer(thoughts="keep")
