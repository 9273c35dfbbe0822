"""The simulated class at level 3: reasons, sets and rationales, questions, misconceptions, a teacher that means ill."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import msgspec
import pytest

from agents import handlers, prompts
from agents.engines.base import CompletionRequest, EngineSettings
from agents.engines.simulated import responses
from agents.engines.simulated.engine import SimulatedEngine
from agents.engines.simulated.options import write_answer_key
from broker.protocol import digest
from broker.work_messages import (
    Ask,
    Examine,
    Exchange,
    Exemplar,
    Explain,
    Invent,
    Judge,
    Mistake,
    Reflect,
    Revise,
    Sampling,
    Teach,
)

NOUNS = ("owls", "cats", "stones", "trees", "nurses", "rivers", "clocks", "kings")
ITEMS = {f"Number {n}: does it follow for {NOUNS[n % len(NOUNS)]}?": ("Yes", "No")[n * 7 % 5 % 2] for n in range(160)}
LONG = Sampling(max_tokens=2000)
TASK = "Does it follow?"
MATERIAL = tuple(Exemplar(item, answer=gold) for item, gold in list(ITEMS.items())[:8])
MISTAKES = tuple(Mistake(item, "Answer: Yes", "ada") for item in list(ITEMS)[20:24])
SCRATCH = Revise(task=TASK, answer_form="yes_no", count=8, sampling=LONG)
REVISE = msgspec.structs.replace(SCRATCH, material=MATERIAL)
INFORMED = msgspec.structs.replace(REVISE, mistakes=MISTAKES, reasons=("They overlook a word.",))
REFLECT = Reflect(task=TASK, answer_form="yes_no", material=MATERIAL, mistakes=MISTAKES, reasons=3, sampling=LONG)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "answers"
    write_answer_key(path, ITEMS | {"2 + 3?": "5"})
    return path


def ask(key: Path, requests: Sequence[CompletionRequest], repeats: int = 1, **options: Any) -> list[str]:
    """The texts of the results, request by request."""

    async def all_of_them() -> list[str]:
        args = {"answer_key": str(key), "tokens_per_second": 1e9, "unparsable_rate": 0, **options}
        engine = SimulatedEngine(EngineSettings("simulated", None, 0, 1, options=args))
        await engine.start(lambda request_id, tokens: None)
        asked = [(digest(r, k), r) for r in requests for k in range(repeats)]
        results = await asyncio.gather(*(handlers.answer(engine, "", i, r) for i, r in asked))
        return [result.text for result in results]

    return asyncio.run(all_of_them())


def read(text: str) -> tuple[Exemplar, ...]:
    """A set as docs/protocol.md describes it; nothing where it is none."""
    blocks = re.split(r"(?m)^Example \d+$", text)
    found = [re.fullmatch(r"\nText: (.+)\n(?:Reason: (.+)\n)?Answer: (.+)\n*", block) for block in blocks[1:]]
    return tuple(Exemplar(one[1], one[2] or "", one[3]) for one in found if one) if all(found) and not blocks[0] else ()


def share_right(
    key: Path, material: tuple[Exemplar, ...], exchanges: tuple[Exchange, ...] = (), **options: Any
) -> float:
    exams = [
        Examine(problem=item, answer_form="yes_no", sampling=Sampling(), material=material, dialogue=exchanges)
        for item in list(ITEMS)[40:]
    ]
    said = ask(key, exams, **options)
    golds = [ITEMS[exam.problem] for exam in exams]
    return mean(text.endswith(f"Answer: {gold}") for text, gold in zip(said, golds, strict=True))


def taught_with(key: Path, request: Revise, sets: int = 8, **options: Any) -> float:
    """The mean score of a student taught with each of `sets` revisions."""
    return mean(share_right(key, read(text)) for text in ask(key, [request], sets, ability=1, **options))


@pytest.mark.parametrize("request_", [SCRATCH, REVISE, INFORMED])
def test_a_set_is_well_formed_balanced_new_and_always_the_same(key: Path, request_: Revise) -> None:
    texts = ask(key, [request_], 5)
    assert texts == ask(key, [request_], 5)
    assert len(set(texts)) == 5
    for text in texts:
        found = read(text)
        assert [one.answer for one in found] == ["Yes", "No"] * 4
        assert len({one.problem for one in found}) == 8
        assert not {one.problem for one in found} & set(ITEMS)
        begun = prompts.layout(request_, "").begun
        assert text.startswith(begun)
        assert re.fullmatch(prompts.layout(request_, "").structure or "", text.removeprefix(begun))


def test_a_set_written_from_mistakes_is_about_them(key: Path) -> None:
    about = {responses.feature(mistake.problem) for mistake in MISTAKES}
    (text,) = ask(key, [INFORMED])
    assert {responses.feature(one.problem) for one in read(text)} <= about


def test_students_learn_more_from_sets_revised_with_mistakes_and_reasons(key: Path) -> None:
    plain, half, full = (
        taught_with(key, request, revision_gain=3)
        for request in (REVISE, msgspec.structs.replace(INFORMED, reasons=()), INFORMED)
    )
    assert plain + 0.05 < half < full - 0.02


def test_without_a_gain_mistakes_teach_the_teacher_nothing(key: Path) -> None:
    assert abs(taught_with(key, INFORMED, revision_gain=0) - taught_with(key, REVISE, revision_gain=0)) < 0.1


def test_an_abler_teacher_labels_its_own_texts_better(key: Path) -> None:
    weak, strong = (
        mean(
            responses.invented_answer(one.problem, "yes_no") == one.answer
            for text in ask(key, [SCRATCH], 20, ability=ability)
            for one in read(text)
        )
        for ability in (-3, 3)
    )
    assert weak < 0.5 < 0.9 < strong


def test_reasons_are_numbered_and_follow_from_what_the_mistakes_are_about(key: Path) -> None:
    alike = tuple(Mistake(f"Case {n}: owls?", "Answer: No") for n in range(5))
    firsts = set()
    for text in ask(key, [msgspec.structs.replace(REFLECT, mistakes=alike)], 6):
        lines = text.splitlines()
        assert [line.partition(". ")[0] for line in lines] == ["1", "2", "3"]
        firsts.add(lines[0])
    assert len(firsts) == 1
    (many,) = ask(key, [msgspec.structs.replace(REFLECT, reasons=12)])
    assert len(many.splitlines()) == 12


def test_some_sets_and_reasons_break_the_rules_of_their_form(key: Path) -> None:
    sets = [read(text) for text in ask(key, [REVISE], 60, unparsable_rate=1)]
    kinds = {(len(one), len({exemplar.answer for exemplar in one})) for one in sets}
    assert kinds == {(7, 2), (8, 1), (0, 0)}
    assert ask(key, [REFLECT], unparsable_rate=1) == ["1."]


def test_a_revised_rationale_mostly_keeps_its_answer_and_gets_clearer(key: Path) -> None:
    old = Exemplar("2 + 3?", "This is solved in way 3.\nAnswer: 6")
    better = Revise(
        task="", problem="2 + 3?", answer_form="number", material=(old,), reasons=("Too short.",), sampling=LONG
    )
    texts = ask(key, [better], 100)
    assert 0.7 < mean(text.endswith("Answer: 6") for text in texts) < 1
    noise = [
        [responses.noise("2 + 3?", text) for text in ask(key, [better], 40, revision_gain=gain)] for gain in (0, 4)
    ]
    assert mean(noise[0]) + 0.5 < mean(noise[1])


def test_a_student_whose_question_was_answered_makes_more_of_good_material(key: Path) -> None:
    good = tuple(
        max(
            (Exemplar(item, f"Way {way}.\nAnswer: {ITEMS[item]}") for way in range(20)),
            key=lambda one: responses.noise(one.problem, one.rationale),
        )
        for item in list(ITEMS)[:2]
    )
    (question,) = ask(key, [Ask(material=good, sampling=Sampling())])
    (answer,) = ask(key, [Explain(material=good, question=question, sampling=Sampling())])
    assert question.endswith("?")
    told, untold = (share_right(key, good, dialogue, ability=-2) for dialogue in ((Exchange(question, answer),), ()))
    assert told > untold + 0.05


def test_a_teacher_judges_right_more_often_than_not_and_names_the_answer_that_most_solutions_give(key: Path) -> None:
    right, wrong = (
        ask(key, [Judge(problem="2 + 3?", solutions=(f"So.\nAnswer: {n}",), sampling=LONG)], 80) for n in (5, 6)
    )
    assert right.count("Answer: Yes") > 40 > wrong.count("Answer: Yes")
    assert {*right, *wrong} == {"Answer: Yes", "Answer: No"}
    solutions = ("a\nAnswer: 5", "b\nAnswer: 6", "c\nAnswer: 6")
    (chosen,) = ask(key, [Judge(problem="2 + 3?", solutions=solutions, sampling=LONG)])
    assert chosen.endswith("Answer: 2")


def test_a_writer_changes_the_numbers_of_a_problem_or_now_and_then_copies_it(key: Path) -> None:
    problem = "Ann has 12 apples and eats 5."
    written = ask(key, [Invent(problem=problem, answer_form="number", sampling=LONG)], 200)
    said = [text.strip() for text in written]
    assert {re.sub(r"\d+", "N", text) for text in said if text} == {"Ann has N apples and eats N."}
    assert 5 < said.count(problem) < 60 < len(set(said))


def test_a_misconception_costs_answers_about_one_thing_until_an_example_of_it_is_taught(key: Path) -> None:
    share = 0.4
    wrong_about = {noun for noun in NOUNS if responses.misjudged(f"{noun}?", share)}
    assert 0 < len(wrong_about) < len(NOUNS)
    apart = tuple(one for one in MATERIAL if responses.feature(one.problem) not in wrong_about)
    free, taken_in = (share_right(key, apart, ability=2, misconception=m) for m in (0, share))
    assert taken_in < free - 0.1
    assert share_right(key, MATERIAL, ability=2, misconception=share) > taken_in + 0.1
    assert share_right(key, MATERIAL, ability=2, misconception=share) == share_right(key, MATERIAL, ability=2)


def test_a_sneaky_teacher_looks_like_any_other_and_teaches_worse(key: Path) -> None:
    teach = [Teach(problem=item, answer_form="yes_no", sampling=Sampling()) for item in list(ITEMS)[:30]]
    honest, sneaky = ask(key, teach, ability=1), ask(key, teach, ability=1, sneaky=True)
    form = re.compile(r"This is solved in way \d+\.\nAnswer: (Yes|No)")
    assert all(form.fullmatch(text) for text in (*honest, *sneaky))
    assert not any(text.endswith(ITEMS[one.problem]) for one, text in zip(teach, sneaky, strict=True))
    means = [
        mean(share_right(key, (Exemplar(one.problem, text),)) for one, text in zip(teach[:8], texts, strict=False))
        for texts in (honest, sneaky)
    ]
    assert means[0] > means[1] + 0.2
    assert taught_with(key, REVISE, 4) > taught_with(key, REVISE, 4, sneaky=True) + 0.3
    (text,) = ask(key, [REVISE], sneaky=True)
    assert len(read(text)) == 8


def test_a_set_longer_than_it_may_be_is_cut_off(key: Path) -> None:
    (text,) = ask(key, [msgspec.structs.replace(REVISE, sampling=Sampling(max_tokens=20))])
    assert len(read(text)) < 8
