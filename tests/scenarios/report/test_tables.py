"""What is printed at the end of a class: read as plain text of 80 columns."""

import io
import re
from itertools import combinations
from typing import Any

import msgspec
import pytest
from rich.console import Console

from scenarios.report.layout import Ruled, Sentences, plain
from scenarios.report.summary import Summary
from scenarios.report.tables import summary_tables
from scenarios.scoring.lineups import shown
from tests import printing


def method(accuracy: float | None, n: int = 6) -> dict[str, Any]:
    return {
        "accuracy": accuracy, "ci95": [0.0, 1.0] if accuracy is None else [accuracy / 2, (1 + accuracy) / 2], "n": n,
        "completion_tokens": 1234567, "tie_share": accuracy, "accuracy_random_ties": accuracy,
    }  # fmt: skip


def line_up(*students: str) -> dict[str, Any]:
    return {
        "students": list(students), "m1_max": 0.5, "m1_sum": 2 / 3, "exams_per_rationale": 2.0 * len(students),
        "m1_max_equal": 0.4125, "m1_sum_equal": 0.625, "m1_max_ci95": [0.188, 0.812], "m1_sum_ci95": [0.3, 0.903],
        "m1_max_equal_ci95": [0.137, 0.758], "m1_sum_equal_ci95": [0.273, 0.881],
        "differences": [to_sc("m1_max", 0.0, [-0.39, 0.39], 1.0), to_sc("m1_sum", 1 / 6, [-0.32, 0.602], 0.63)],
    }  # fmt: skip


def to_sc(rule: str, difference: float, ci95: list[float], p_value: float) -> dict[str, Any]:
    return {
        "rule": rule, "against": "sc", "students": [], "difference": difference, "ci95": ci95, "wins": 2, "losses": 1,
        "p_value": p_value,
    }  # fmt: skip


def summary(students: tuple[str, ...] = ("peer", "tiny"), **more: Any) -> dict[str, Any]:
    return {
        "scenario": "multi_student", "level": 1, "seed": 7, "status": "complete", "wall_seconds": 252.2,
        "simulated": False, "agents": [],
        "counts": {
            "teaching_problems": 6,
            "teaching_rationales": 36,
            "exam_answers": 1216,
            "identical_rationales": 4,
            "cut_off": 0,
        },
        "methods": {"greedy": method(1 / 6), "sc": method(0.5), "m1_max": method(0.5), "m1_sum": method(2 / 3)},
        "best_possible": {"accuracy": 5 / 6, "n": 6},
        "paired": [
            {
                "a": "m1_sum", "b": "sc", "difference": 1 / 6, "ci95": [-1 / 6, 0.5], "wins": 2, "losses": 1,
                "p_value": 0.6251, "n": 6,
            },
            {
                "a": "m1_sum", "b": "m1_max", "difference": 0.0, "ci95": [0.0, 0.0], "wins": 0, "losses": 0,
                "p_value": 1.0, "n": 6,
            },
        ],
        "students": [
            {
                "name": name, "exam_accuracy": 0.4, "ci95": [0.3, 0.5], "exam_answers": 72, "m1_max": 0.5,
                "m1_sum": 1 / 3,
            }
            for name in students
        ],
        "lineups": [*(line_up(name) for name in students), line_up(*students)],
        "lineups_shown": shown(len(students)),
        "assumption": {"right_beats_wrong": 0.75, "ties": 0.2, "pairs": 196},
        "levels": {"2": {"rounds": []}, "3": {"rounds": []}}, "failures": [], "caution": None,
        **more,
    }  # fmt: skip


def printed(told: dict[str, Any], width: int = 80, encoding: str = "utf-8", colour: bool = False) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    Console(file=file, width=width, force_terminal=colour, color_system="standard" if colour else None).print(
        summary_tables(msgspec.convert(told, Summary))
    )
    file.flush()
    return raw.getvalue().decode(encoding)


def rows(text: str, begin: str) -> list[str]:
    """Table rows that begin so, with single blanks."""
    return [one_line(line) for line in text.splitlines() if line.startswith(begin + "  ")]


def one_line(text: str) -> str:
    return " ".join(text.split())


def test_every_method_has_its_row() -> None:
    text = printed(summary())
    assert rows(text, "greedy") == ["greedy 16.7 % ██░░░░░░░░ 8 to 58 % 1,234,567 17 % 16.7 %"]
    assert rows(text, "M1 SUM") == ["M1 SUM 66.7 % ███████░░░ 33 to 83 % 1,234,567 67 % 66.7 %"]
    assert rows(text, "best TR (oracle)") == ["best TR (oracle) 83.3 % ████████░░"]
    assert "multi_student  level 1, seed 7, complete, 4 min 12 s" in text


def test_baselines_have_a_short_table_of_their_own() -> None:
    pair = {
        "a": "m1_max", "b": "random_pick", "difference": 0.25, "ci95": [-0.1, 0.5], "wins": 2, "losses": 1,
        "p_value": 0.25, "n": 6,
    }  # fmt: skip
    text = printed(summary(baselines={"random_pick": {**method(0.25), "against": pair}, "shortest": method(0.5)}))
    assert rows(text, "random") == ["random 25.0 % 12 to 62 % 1,234,567 MAX +25.0 -10 to +50 0.25"]
    assert rows(text, "shortest") == ["shortest 50.0 % 25 to 75 % 1,234,567 - - -"]
    assert "Baselines of M1" not in printed(summary())


def test_published_figures_stand_beside_ours() -> None:
    text = printed(summary(published={"source": "the [bold]paper", "methods": {"sc": 0.6464, "m2": 0.3}}), width=120)
    assert rows(text, "SC") == ["SC 50.0 % █████░░░░░ 25 to 75 % 64.64 % 1,234,567 50 % 50.0 %"]
    assert rows(text, "M1 SUM") == ["M1 SUM 66.7 % ███████░░░ 33 to 83 % - 1,234,567 67 % 66.7 %"]
    assert "published: the [bold]paper." in one_line(text)
    assert "published" not in printed(summary())


def test_levels_and_subjects_have_their_rows() -> None:
    part = {"n": 3, "sc": 1 / 3, "sc_ci95": [0.06, 0.79], "m1_max": None, "m1_max_ci95": None}
    hard = part | {"name": "Level 5", "m1_max": 2 / 3, "m1_max_ci95": [0.21, 0.94]}
    text = printed(summary(by_level=[hard, part | {"name": ""}]))
    assert rows(text, "Level 5") == ["Level 5 3 33.3 % 6 to 79 % 66.7 % 21 to 94 %"]
    assert rows(text, "not named") == ["not named 3 33.3 % 6 to 79 % - -"]
    assert "By level" in text
    assert "By subject" not in text


def test_comparisons_are_sentences() -> None:
    text = one_line(printed(summary()))
    assert (
        "M1 SUM against SC: +16.7 points (95 % interval -16.7 to +50.0); better on 2, worse on 1 of 6; p = 0.63. "
        "About 150 problems would show this difference."
    ) in text
    assert "p is below 0.05 with a probability of 80 %, if the methods differ as often as here." in text
    assert "M1 SUM and M1 MAX: right and wrong on the same 6 problems." in text


def test_students_and_line_ups_have_their_rows() -> None:
    text = printed(summary(), width=160)
    figures = "50.0 % (19 to 81) +0.0 (-39 to +39) 41.2 % 66.7 % (30 to 90) +16.7 (-32 to +60) 62.5 %"
    assert rows(text, "peer") == ["peer 72 40.0 % ████░░░░░░ 30 to 50 % 50.0 % 33.3 %", f"peer 2 {figures}"]
    assert rows(text, "peer, tiny") == [f"peer, tiny 4 {figures}"]
    assert (
        rows(printed(summary()), "peer, tiny")[0]
        == "peer, tiny 4 50.0 % (19 to 81) +0.0 (-39 to +39) 41.2 % 66.7 % (30 to 90)"
    )


def test_identical_students_and_line_ups_without_a_significant_difference_to_sc_are_named() -> None:
    text = one_line(printed(summary(("a", "b", "c"), identical_students=[["a", "b", "c"]])))
    assert (
        "a, b and c are identical (same model, persona and settings): only chance makes their figures differ." in text
    )
    assert "No line-up differs significantly from SC: every interval of a difference contains 0." in text
    ups = [line_up("a"), line_up("b"), line_up("a", "b")]
    ups[0] = ups[0] | {"differences": [to_sc("m1_max", 0.4, [0.05, 0.6], 0.02)], "best_single": True}
    text = one_line(printed(summary(("a", "b"), lineups=ups)))
    assert "No line-up" not in text and "identical" not in text.partition("Do right")[0]
    assert (
        "Of 5 differences to SC, 1 has an interval without 0; after correction for their number (Holm), none is "
        "significant."
    ) in text
    assert (
        "The best student alone, by MAX, is a. These figures select it, so it will probably do worse in another class."
        in text
    )


def value(points: float) -> dict[str, Any]:
    return {"value": points / 100, "ci95": [(points - 5) / 100, (points + 5) / 100], "p_value": 0.2}


def test_what_each_student_adds_is_a_table_beside_the_students() -> None:
    students = [
        {"name": name, "m1_max": value(points), "m1_sum": value(-points)}
        for name, points in (("peer", 12.5), ("tiny", -2))
    ]
    adds = {"students": students, "sc": 0.5, "gain_max": 0.105, "gain_sum": -0.105, "n": 6, "orders": None}
    text = printed(summary(shapley=adds))
    assert "peer +12.5 +8 to +18 -12.5 -18 to -8" in rows(text, "peer")
    assert rows(text, "all together") == ["all together +10.5 -10.5"]
    assert text.index("The students") < text.index("What each student adds") < text.index("Which students should")
    assert "random orders" not in text
    assert "Means over 400 random orders." in one_line(printed(summary(shapley=adds | {"orders": 400})))
    assert "What each student adds" not in printed(summary(("peer",), shapley=adds | {"students": students[:1]}))


def test_students_without_a_significant_difference_are_named_first() -> None:
    alike = {"to_base": [], "smallest_p": 0.4, "pairs": 1, "n": 6}
    text = one_line(printed(summary(fidelity=alike)))
    assert text.index("show no significant difference between the students") < text.index("How often the teacher")
    assert "show no significant difference" not in one_line(printed(summary(fidelity=alike | {"smallest_p": 0.04})))


def test_missing_repeats_are_named_under_the_line_ups() -> None:
    lacks = {
        "line_up": ["peer", "tiny"], "student": "peer", "exams_per_rationale": 4.0, "m1_max": None, "m1_sum": None,
        "max_difference": None, "sum_difference": None, "needs_repeats": 4,
    }  # fmt: skip
    text = one_line(printed(summary(equal_up=[lacks])))
    assert "With exam.repeats=4 one student would take as many exams as all students together do now." in text


def test_the_assumption_and_what_went_into_the_figures_are_sentences() -> None:
    text = one_line(printed(summary()))
    assert (
        "Of 196 pairs within a problem, the right one scored higher in 75.0 %, the same in 20.0 %, lower in 5.0 %"
        in text
    )
    assert "From 36 teaching rationales and 1,216 exam answers; 4 rationales with the same text as another" in text
    assert "cut off" not in text


def test_a_caution_and_failures_are_shown_only_where_there_are_any() -> None:
    text = printed(summary())
    assert "Caution" not in text
    assert "Failed" not in text
    failed = {"request": "0123456789ab", "agent": "tiny", "kind": "context", "detail": "too long"}
    others = [failed | {"detail": f"no {n}"} for n in range(6)]
    text = printed(summary(caution="Six problems are few.", failures=[*others, *[failed] * 18]))
    assert "Caution: Six problems are few." in text
    assert text.count("too long") == 1
    assert "18  tiny   context  too long" in text
    assert "Failed requests: 24" in text
    assert "2 more, for other reasons: see failures in summary.json" in text


@pytest.mark.parametrize(
    ("stage", "then"), [("exam", ", and M1 counts its answers as wrong."), ("measure", ".")], ids=str
)
def test_that_an_agent_said_nothing_stands_above_the_first_table(stage: str, then: str) -> None:
    silent = {
        "agent": "tiny", "stage": stage, "requests": 72, "empty": 72, "empty_after_thoughts": 0, "failed": 0,
        "reasons": {},
    }  # fmt: skip
    text = one_line(printed(summary(unanswered=[silent])))
    said = f"tiny gave no answer at all in stage {stage}: its figures there mean nothing{then} "
    assert text.index(said) < text.index("How often")
    assert "mean nothing" not in printed(summary(unanswered=[silent | {"empty": 71}]))


def test_a_class_that_runs_says_so() -> None:
    assert "seed 7, running (so far), 4 min" in printed(summary(status="running"))


def test_simulated_figures_say_so() -> None:
    assert "simulated" not in printed(summary())
    assert "nothing about any language model" in one_line(printed(summary(simulated=True)))


def test_what_a_model_or_a_failure_says_is_neither_markup_nor_a_command_to_the_terminal() -> None:
    nasty = "[red]boo[/red] \x1b[2J\x07 :smile: [link=x]y"
    failed = {"request": "[b]01", "agent": "a[i]", "kind": "engine", "detail": nasty}
    for colour in (False, True):
        text = printed(summary(scenario="[u]x", failures=[failed]), colour=colour)
        assert "[red]boo[/red] [2J :smile: [link=x]y" in text
        assert "[u]x" in text
        assert "a[i]" in text
        assert "\x1b[2J" not in text
        assert "\x07" not in text
    assert plain("a\tb\nc\u202ed") == "a b cd"


def test_no_part_of_a_table_or_sentence_is_a_command_to_the_terminal() -> None:
    nasty = "[red]x[/red]\x1b[2J\u202e\x9b\n y"
    table = Ruled(nasty, nasty)
    table.add_column(nasty)
    table.add_column()
    table.add_row(nasty, nasty)
    for part in (table, Sentences(nasty)):
        lines = printing.printed(part).splitlines()
        assert any("[red]x[/red][2J" in line for line in lines)
        assert all(line.isprintable() for line in lines)


LONG = ("a-student-with-the-longest-name-1", "a-student-with-the-longest-name-2", "short")


@pytest.mark.parametrize("students", [("peer",), LONG, tuple("abcdefgh")])
def test_every_line_fits_into_80_columns_with_no_figure_cut(students: tuple[str, ...]) -> None:
    failed = {"request": "0123456789ab", "agent": students[0], "kind": "unsupported", "detail": "x" * 300}
    text = printed(summary(students, failures=[failed], caution="few " * 60))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert text.count("62.5 %") == len(students) + 1


def test_a_terminal_without_block_characters_gets_ascii() -> None:
    text = printed(summary(), encoding="ascii")
    assert rows(text, "SC") == ["SC 50.0 % #####..... 25 to 75 % 1,234,567 50 % 50.0 %"]


def test_with_many_students_everybody_is_one_word_and_what_is_left_out_is_said() -> None:
    text = printed(summary(tuple("abcdefgh")))
    assert "all 8" in text
    assert "not all line-ups are shown: singles, pairs, and everybody." in one_line(text)


def test_a_class_that_was_stopped_at_once_can_be_shown() -> None:
    nobody = {"right_beats_wrong": None, "ties": None, "pairs": 0}
    nothing = method(None, n=0)
    stopped = summary(
        methods={"greedy": nothing, "m1_sum": nothing},
        best_possible={"accuracy": None, "n": 0},
        paired=[],
        assumption=nobody,
        status="interrupted",
    )
    text = printed(stopped)
    assert "No problem is complete yet." in text
    assert not rows(text, "M1 SUM")
    assert "The students" in text
    unseen = [student | {"exam_answers": 0} for student in stopped["students"]]
    assert "The students" not in printed(stopped | {"students": unseen})


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("students", [("peer",), ("peer", "tiny"), LONG])
def test_at_every_width_no_column_no_name_and_no_figure_is_lost(width: int, students: tuple[str, ...]) -> None:
    lines = printed(summary(students), width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any(line != line.rstrip() for line in lines), "no line is padded"
    text, flat = "\n".join(lines), one_line("".join(line.strip() + " " for line in lines))
    assert "…" not in text
    for part in ("1,234,567", "MAX,", "SUM,", "alone", "ties at", "62.5 %", "41.2 %", "33 to 83 %"):
        assert part in flat, text
    ends = {name.rpartition("longest-")[2] for name in students}
    assert all(re.search(rf"(^|[ -]){end}\b", text, re.MULTILINE) for end in ends), text


def test_no_line_begins_with_a_percent_sign_at_any_width() -> None:
    told = summary(dense=None)
    assert not [line for width in range(30, 100) for line in printed(told, width).splitlines() if line.startswith("%")]


FIVE = ("ada", "bob", "cyd", "dan", "eve")


def five() -> dict[str, Any]:
    ups = [line_up(*subset) for size in range(1, 6) for subset in combinations(FIVE, size)]
    for number, up in enumerate(ups):
        up["m1_max"] = number * 7 % 31 / 100
    return summary(FIVE, lineups=ups)


def test_of_many_line_ups_the_best_and_worst_of_each_size_are_shown_and_the_rest_is_counted() -> None:
    text = printed(five())
    _, _, table = text.partition("Which students should take the exams?")
    table, _, _ = table.partition("No line-up is")
    table = table.split("\n\n")[0]  # the block with MAX
    shown = [line.rstrip() for line in table.splitlines()[4:] if line]
    sizes = [float(m[1]) / 2 for line in shown if (m := re.search(r"  +(\d+)  +[\d.]+ %", line))]
    assert sizes == sorted(sizes)
    assert [sizes.count(size) for size in (1, 2, 3, 4, 5)] == [5, 5, 5, 5, 1]
    assert "… 5 more of 2 students" in text and "… 5 more of 3 students" in text
    assert "summary.json has all 31" in one_line(text)
    pairs = [float(m[1]) for line in shown if (m := re.search(r", \w+ +4 +([\d.]+) %", line))]
    every = sorted((100 * up["m1_max"] for up in five()["lineups"] if len(up["students"]) == 2), reverse=True)
    assert pairs == pytest.approx(every[:3] + every[-2:])
    assert "all but eve" in text and "all 5" in text


def test_singular_and_plural() -> None:
    counts = {
        "teaching_problems": 1,
        "teaching_rationales": 1,
        "exam_answers": 1,
        "identical_rationales": 1,
        "cut_off": 2,
    }
    text = one_line(printed(summary(counts=counts, best_possible={"accuracy": 1.0, "n": 1})))
    assert "(1 teaching problem)" in text
    assert "From 1 teaching rationale and 1 exam answer; 1 rationale with the same text as another" in text
    assert "2 texts cut off" in text


def test_levels_are_named_and_the_assumption_has_its_interval() -> None:
    sure = {"right_beats_wrong": 0.75, "ties": 0.2, "pairs": 196, "ci95": [0.61, 0.87]}
    text = one_line(printed(summary(level=[1, 2], assumption=sure)))
    assert "multi_student levels 1, 2, seed 7" in text
    assert "higher in 75.0 % (95 % interval 61 to 87 %, over problems), the same" in text


def test_what_scoring_solutions_costs_is_said() -> None:
    assert "log p:" not in printed(summary())
    cost = {**summary()["counts"], "solutions": 192, "solution_tokens": 48230}
    text = one_line(printed(summary(counts=cost)))
    assert "log p: students also read 192 solutions in prompts of 48,230 tokens, which are left out." in text


def test_several_p_values_come_with_a_word_on_their_number() -> None:
    assert "The p of these 2 comparisons is not corrected for their number" in one_line(printed(summary()))


def test_answers_of_level_3_are_told_apart_and_shared_ones_are_named() -> None:
    counts = {
        "teaching_problems": 0, "exam_answers": 120, "unparsable_exam_answers": 3, "teacher_exam_answers": 16,
        "training_answers": 1680, "unparsable_training_answers": 33, "held_out_answers": 400,
    }  # fmt: skip
    agent = {
        "name": "s", "role": "student", "model": "m", "engine": "e", "device": "", "requests": 0, "prompt_tokens": 1000,
        "cached_prompt_tokens": 700, "cacheable_prompt_tokens": 670, "completion_tokens": 0, "busy_seconds": 0.0,
        "restarts": 0, "failed": 0, "shared": {"teacher": 16},
    }  # fmt: skip
    text = one_line(printed(summary(counts=counts, agents=[agent])))
    assert "From 120 exam answers (3 of them without a readable answer: wrong) of students; " in text
    assert "exam answers of the teacher as its own student: 16; " in text
    assert "the teacher's own answers to training items: 1,680 (33 of them" in text
    assert "to held-out items: 400." in text
    assert "s answers as teacher does (same model, persona and sampling): 16 answers shared." in text
    assert "70.0 % came from a prefix cache; about 67.0 % are whole turns of an earlier prompt" in text


def test_what_was_asked_otherwise_at_servers_is_said() -> None:
    agent = {
        "name": "s", "role": "student", "model": "m", "engine": "openai", "device": "", "requests": 0,
        "prompt_tokens": 0, "cached_prompt_tokens": 0, "cacheable_prompt_tokens": 0, "completion_tokens": 0,
        "busy_seconds": 0.0, "restarts": 0, "failed": 0, "without": ["prefill", "seed", "top_k"],
        "role_marks_broken": 1200, "answers_cut": 1,
    }  # fmt: skip
    text = one_line(printed(summary(agents=[agent, agent | {"name": "t", "without": [], "role_marks_broken": 0}])))
    assert "The server of s does not take seed, top_k (see docs/servers.md)." in text
    assert "The server of s does not go on with a begun answer (omit: [prefill])." in text
    assert "In texts for s, 1,200 role marks got a space." in text
    assert "1 answer of s went on far beyond max_tokens and got cut off." in text
    assert "server of t" not in text
