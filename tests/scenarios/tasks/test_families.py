"""Every family a class can be given, worked out anew by rules of our own, and graded by our own grader."""

import ast
import math
import operator
import re
from collections.abc import Callable
from datetime import date, timedelta
from fractions import Fraction
from itertools import product

import pytest
from reasoning_gym.factory import DATASETS, create_dataset

from scenarios.config.schema import Exam, Task
from scenarios.tasks.grading.answers import ClassGrader
from scenarios.tasks.problems import ANSWER_MARK, Problem
from scenarios.tasks.sources.families import DEFECTIVE, FAMILIES, GSM, REFUSED, TEMPLATES, UNCHECKED
from scenarios.tasks.sources.gym import build, suited

MONTHS = [date(2000, n, 1).strftime("%B") for n in range(1, 13)]


def problems(family: str) -> list[Problem]:
    items = build(Task(family=family, problems=40), Exam(problems=2), seed=3)
    return [problem for item in items for problem in (item.tp, *item.eps)]


def numbers(text: str) -> list[Fraction]:
    return [Fraction(found) for found in re.findall(r"\d+(?:\.\d+)?", text)]


OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}


def calculated(text: str) -> Fraction:
    """Plus, minus, times and brackets, in the order Python has for them."""

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp):
            return -value(node.operand)
        assert isinstance(node, ast.Constant)
        return Fraction(str(node.value))

    return value(ast.parse(text.strip(), mode="eval").body)


def equation(text: str) -> Fraction:
    left, right = text.split(": ")[1].split(" = ")
    name = re.findall(r"[a-z]", left)[0]

    def at(value: int) -> Fraction:
        with_times = re.sub(rf"(\d+)\*{name}", rf"\1*{value}", left)
        return calculated(re.sub(name, str(value), with_times))

    start, slope = at(0), at(1) - at(0)
    return (calculated(right) - start) / slope


def last_angle(text: str) -> Fraction:
    angles = [Fraction(found) for found in re.findall(r"([\d.]+)°", text)]
    return 180 * (len(angles) - 1) - sum(angles, start=Fraction(0))


def primes(text: str) -> Fraction:
    low, high = numbers(text)
    return Fraction(sum(all(n % d for d in range(2, n)) for n in range(max(2, int(low)), int(high) + 1)))


def weekday(text: str) -> str:
    day = re.search(rf"({'|'.join(MONTHS)}) (\d+), (\d+)", text)
    days = re.search(r"(\d+)(?: |-)days?\b", text)
    assert day
    assert days
    start = date(int(day[3]), MONTHS.index(day[1]) + 1, int(day[2]))
    back = any(word in text for word in (" ago", " before", "backward"))
    return (start + timedelta(days=-int(days[1]) if back else int(days[1]))).strftime("%A")


WOMEN = {"Mary", "Linda", "Susan", "Sarah", "Karen", "Emma", "Anna", "Julia", "Lucy", "Alice"}


def relative(text: str) -> str:
    couples: dict[str, str] = {}
    parents: dict[str, set[str]] = {}
    pair = ("", "")
    for sentence in re.split(r"[.?]\s*", text):
        if found := re.fullmatch(r"(\w+) is married to (\w+)", sentence):
            pair = (found[1], found[2])
            couples |= {pair[0]: pair[1], pair[1]: pair[0]}
        elif found := re.fullmatch(r"They have (?:a child|children) called (.*)", sentence):
            parents |= {child: set(pair) for child in re.findall(r"[A-Z]\w+", found[1])}
    asked = re.search(r"(?:What is|How is|What relation is) (\w+) (?:related )?to (\w+)", text)
    assert asked
    a, b = asked[1], asked[2]
    of_a, of_b = parents.get(a, set()), parents.get(b, set())
    ways = {
        "parent": a in of_b,
        "child": b in of_a,
        "spouse": couples.get(a) == b,
        "sibling": bool(of_a) and of_a == of_b,
        "grandparent": any(a in parents.get(parent, set()) for parent in of_b),
        "sibling of a parent": any(of_a and of_a == parents.get(parent) for parent in of_b - {a}),
    }
    (way,) = [way for way, holds in ways.items() if holds]
    names = {
        "parent": "father mother", "child": "son daughter", "spouse": "husband wife", "sibling": "brother sister",
        "grandparent": "grandfather grandmother", "sibling of a parent": "uncle aunt",
    }  # fmt: skip
    return names[way].split()[a in WOMEN]


def needle(text: str) -> str:
    story, question = text.rsplit("\n", 1)
    asked = question.removeprefix("Who ").removesuffix("?")
    (who,) = [s.removesuffix(asked).strip() for s in re.split(r"\.\s", story) if s.endswith(" " + asked)]
    return who


def follows(text: str) -> str:
    """By trying every world in which each of the three kinds has somebody of it."""
    statements = re.findall(r"\b(All|No) (\w+) are (\w+)", text)
    names = sorted({name for _, *two in statements for name in two})
    assert len(statements) == 3
    sorts = list(product((False, True), repeat=len(names)))
    for present in product((False, True), repeat=len(sorts)):
        world = [dict(zip(names, sort, strict=True)) for sort, there in zip(sorts, present, strict=True) if there]
        if not all(any(one[name] for one in world) for name in names):
            continue
        *premises, conclusion = [
            all(not one[a] or one[b] is (how == "All") for one in world) for how, a, b in statements
        ]
        if all(premises) and not conclusion:
            return "No"
    return "Yes"


ORACLES: dict[str, Callable[[str], Fraction | str]] = {
    "chain_sum": lambda text: calculated(text.split(": ")[1].rstrip(" =")),
    "decimal_chain_sum": lambda text: calculated(text.split(": ")[1].rstrip(" =")),
    "products": lambda text: math.prod(numbers(text), start=Fraction(1)),
    "basic_arithmetic": lambda text: calculated(text.removeprefix("Calculate ").rstrip(".")),
    "gcd": lambda text: Fraction(math.gcd(*map(int, numbers(text)))),
    "lcm": lambda text: Fraction(math.lcm(*map(int, numbers(text)))),
    "simple_equations": equation,
    "simple_geometry": last_angle,
    "count_bits": lambda text: Fraction(int(numbers(text)[-1]).bit_count()),
    "count_primes": primes,
    "calendar_arithmetic": weekday,
    "family_relationships": relative,
    "needle_haystack": needle,
    "spell_backward": lambda text: text.split(": ")[-1][::-1],
    "syllogism": follows,
}


def perturbed(problem: Problem) -> str:
    if problem.form == "number":
        return str(Fraction(problem.answer) + 1)
    if problem.form == "yes_no":
        return "No" if problem.answer == "Yes" else "Yes"
    return problem.answer + "s"


@pytest.mark.parametrize("family", ORACLES)
def test_the_gold_answers_of_a_family_are_what_its_problems_come_to(family: str) -> None:
    for problem in problems(family):
        worked_out = ORACLES[family](problem.text)
        gold = Fraction(problem.answer) if isinstance(worked_out, Fraction) else problem.answer
        assert worked_out == gold, problem


@pytest.mark.parametrize("family", FAMILIES)
def test_the_grader_takes_a_familys_gold_answers_and_nothing_near_them(family: str) -> None:
    grader = ClassGrader()
    for problem in problems(family):
        answer = grader.parse(f"Some lines of work.\n{ANSWER_MARK} {problem.answer}", problem.form)
        assert grader.correct(problem, answer), problem
        assert not grader.correct(problem, grader.parse(f"{ANSWER_MARK} {perturbed(problem)}", problem.form)), problem


def test_every_family_but_gsm_symbolic_is_worked_out_here() -> None:
    assert set(ORACLES) == set(FAMILIES) - {GSM}


def test_every_family_of_the_library_is_used_refused_or_named_as_unchecked() -> None:
    known = [*FAMILIES, *REFUSED, *UNCHECKED.split()]
    assert sorted(known) == sorted(DATASETS)


def test_a_problem_never_asks_for_a_bare_answer() -> None:
    for family in FAMILIES:
        assert not any("nly" in p.text.split("\n")[-1] and "answer" in p.text for p in problems(family)), family


@pytest.mark.parametrize("difficulty", [0.5, 1.0, 2.0])
def test_sound_templates_end_in_the_answer_their_own_solution_comes_to(difficulty: float) -> None:
    generators = create_dataset(GSM, size=1, seed=0).generators
    from scenarios.tasks.sources.gym import BoundedRandom

    for template in suited(difficulty):
        for seed in range(5):
            made = generators[template](BoundedRandom(seed), difficulty)
            shown = re.search(r"####\s*\$?(-?[\d,.]*\d)", made["metadata"]["answer_cot"])
            assert shown, template
            assert Fraction(shown[1].replace(",", "")) == Fraction(made["answer"]), template
            assert Fraction(made["answer"]).denominator == 1, template


def test_the_percentages_of_a_sound_template_come_out_whole() -> None:
    for item in build(Task(family=GSM, problems=20, templates=(80, 29)), Exam(problems=2), seed=1):
        for problem in (item.tp, *item.eps):
            first, second, third, fourth, *_ = (int(n) for n in numbers(problem.text))
            part = first + second if "t80" in problem.id else second + fourth
            whole = first + second + third + fourth if "t80" in problem.id else first + third
            assert Fraction(100 * part, whole) == Fraction(problem.answer), problem


def test_defective_templates_are_left_out_at_every_difficulty() -> None:
    for tenths in range(5, 21):
        assert not set(suited(tenths / 10)) & set(DEFECTIVE)
    assert len(suited(1.0)) == TEMPLATES - len(DEFECTIVE)
