"""Level 3 on the page: F1 by round, the arms, and every set of exemplars under the set that it was revised from."""

from collections.abc import Iterator, Mapping

import msgspec

from scenarios.records.iterate import ArmRun, ExemplarSet, Iteration, Revision
from scenarios.report.formatting import interval, percent
from scenarios.report.iterate import KEY_DIGITS
from scenarios.report.iterate_tables import ARMS
from scenarios.report.page.answer import points
from scenarios.report.page.chart_data import Chart, Dot, PageTable, Point
from scenarios.report.page.charts import dot_plot, line_chart
from scenarios.report.summary import Summary


class SetNode(msgspec.Struct, frozen=True):
    """A set of exemplars in the tree of its run."""

    key: str
    round: int
    """In which it was scored first; 0: the start."""
    origin: str
    kept: bool
    """It was kept after some round."""
    f1_train: str
    f1_test: str
    gain: str
    """Points of F1 on training items over the set that it was revised from; empty: there is none."""
    exemplars: tuple[tuple[str, str, bool], ...]
    """Text, rationale with answer, and whether the set that it was revised from lacks it."""
    dropped: tuple[str, ...]
    """Texts of the exemplars of that set which this one lacks."""
    reasons: tuple[str, ...]
    """What misled the students, in the teacher's words."""
    children: tuple["SetNode", ...]


def charts(summary: Summary, iteration: Iteration | None) -> list[Chart]:
    """F1 by round, of the class and by arm, and the class against its baselines at the end."""
    found = summary.levels.iterate
    if not found.rounds:
        return []
    lines = [
        Point(name, float(one.round), mean.mean, mean.ci95)
        for name in ("training", "held out")
        for one in found.by_round
        for mean in [one.teacher_f1_train if name == "training" else one.teacher_f1_test]
        if mean.mean is not None
    ]
    table = PageTable(
        ("round", "F1 on training items", "F1 on held-out items", "runs"),
        tuple(
            (str(one.round), percent(one.teacher_f1_train.mean), percent(one.teacher_f1_test.mean),
             str(one.teacher_f1_test.n))
            for one in found.by_round
        ),
    )  # fmt: skip
    dots = [
        Dot(
            ARMS.get(arm.name, arm.name), arm.teacher_f1_test.mean, arm.teacher_f1_test.ci95,
            f"{ARMS.get(arm.name, arm.name)}: F1 {percent(arm.teacher_f1_test.mean)} on held-out items",
            "var(--accent)" if arm.name == "class" else "var(--quiet)",
            (percent(arm.teacher_f1_test.mean), f"{arm.sets:,.0f}",
             "-" if arm.requests is None else f"{arm.requests:,.0f}"),
        )
        for arm in found.arms
    ]  # fmt: skip
    arms = PageTable(
        ("sets of", "training", "held out", "95 %", "runs", "sets", "requests"),
        tuple(
            (
                ARMS.get(arm.name, arm.name), percent(arm.teacher_f1_train.mean), percent(arm.teacher_f1_test.mean),
                interval(arm.teacher_f1_test.ci95), str(arm.teacher_f1_test.n), f"{arm.sets:,.0f}",
                "-" if arm.requests is None else f"{arm.requests:,.0f}",
            )
            for arm in found.arms
        ),
    )  # fmt: skip
    return [
        line_chart("The teacher's F1 by round", lines, table, x="round", y="F1", share=True),
        *_by_arm(iteration),
        dot_plot(
            "The best set at the end, on held-out items", dots, arms, headings=("F1", "sets", "requests"),
            note="Intervals are over independent runs; one run has none.",
        ),
    ]  # fmt: skip


def _by_arm(iteration: Iteration | None) -> Iterator[Chart]:
    """F1 on held-out items by round and arm, the mean over runs; nothing where the class has no baseline."""
    found: dict[tuple[str, int], list[float]] = {}
    for course in iteration.courses if iteration else ():
        for round in course.rounds:
            f1 = (
                course.held_out[round.selected[0]].f1
                if round.selected and round.selected[0] in course.held_out
                else None
            )
            if f1 is not None:
                found.setdefault((course.arm, round.number), []).append(f1)
    if len({arm for arm, _ in found}) < 2:
        return
    lines = [
        Point(ARMS.get(arm, arm), float(number), sum(values) / len(values))
        for (arm, number), values in sorted(found.items(), key=lambda item: (item[0][0] != "class", item[0]))
    ]
    table = PageTable(
        ("sets of", "round", "F1 on held-out items"),
        tuple((point.series, f"{point.x:g}", percent(point.y)) for point in lines),
    )
    yield line_chart("F1 on held-out items by round and arm", lines, table, x="round", y="F1", share=True)


def trees(iteration: Iteration | None) -> list[tuple[str, tuple[SetNode, ...]]]:
    """For every run of the class, its sets; the first sets are the roots."""
    courses = iteration.courses if iteration else ()
    return [(f"Run {course.run + 1}", _tree(course)) for course in courses if course.arm == "class" and course.rounds]


def _tree(course: ArmRun) -> tuple[SetNode, ...]:
    first: dict[str, int] = {}
    for round in course.rounds:
        for key in round.scored:
            first.setdefault(key, round.number)
    kept = {key for round in course.rounds for key in round.selected}
    made: dict[str, Revision] = {}
    for round in course.rounds:
        for revision in round.revisions:
            if revision.made in first and first.get(revision.parent, round.number) < first[revision.made]:
                made.setdefault(revision.made, revision)
    children: dict[str, list[str]] = {}
    for key in first:
        children.setdefault(made[key].parent if key in made else "", []).append(key)

    def node(key: str) -> SetNode:
        revision = made.get(key)
        parent = course.sets.get(revision.parent) if revision else None
        return SetNode(
            key=key[:KEY_DIGITS],
            round=first[key],
            origin=course.sets[key].origin,
            kept=key in kept,
            f1_train=percent(_f1(course, key)),
            f1_test=percent(course.held_out[key].f1 if key in course.held_out else None),
            gain=_gain(course, key, revision.parent) if revision and parent else "",
            exemplars=tuple(_exemplars(course.sets[key], parent)),
            dropped=tuple(_dropped(course.sets[key], parent)),
            reasons=revision.reasons if revision else (),
            children=tuple(node(child) for child in children.get(key, ())),
        )

    return tuple(node(key) for key in children.get("", ()))


def _exemplars(own: ExemplarSet, parent: ExemplarSet | None) -> Iterator[tuple[str, str, bool]]:
    known = set(parent.exemplars) if parent else set(own.exemplars)
    return ((one.problem, one.rationale, one not in known) for one in own.exemplars)


def _dropped(own: ExemplarSet, parent: ExemplarSet | None) -> Iterator[str]:
    return (one.problem for one in (parent.exemplars if parent else ()) if one not in own.exemplars)


def _gain(course: ArmRun, key: str, parent: str) -> str:
    after, before = _f1(course, key), _f1(course, parent)
    return "" if after is None or before is None else points(after - before)


def _f1(course: ArmRun, key: str) -> float | None:
    found: Mapping[str, object] = course.train
    return course.train[key].f1 if key in found else None
