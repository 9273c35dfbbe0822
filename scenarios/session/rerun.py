"""A recorded class under a changed scenario: which changes `resume`, `extend` and `replay` accept."""

from collections import deque
from collections.abc import Collection, Mapping, Sequence

from msgspec.structs import replace
from rich.console import Console

from broker.errors import ScenarioError
from broker.protocol import digest
from scenarios.config import load
from scenarios.config.schema import Agent, Scenario
from scenarios.config.student_file import with_student
from scenarios.levels.base import Request, Result
from scenarios.levels.observe.baselines import ALONE, RATE, UNIVERSAL
from scenarios.levels.observe.invention import AGREE, INVENT
from scenarios.levels.observe.votes import STAGE as VOTES
from scenarios.levels.replay import replay
from scenarios.levels.steered import steered
from scenarios.report.console import say, show_summary
from scenarios.report.formatting import many, percent
from scenarios.report.methods import M1, chosen_answers
from scenarios.report.run_info import facts_from
from scenarios.report.summary import Summary
from scenarios.report.tables import LABELS
from scenarios.report.unanswered import ASKED
from scenarios.scoring.lbt import Same, Sheet
from scenarios.scoring.statistics import mean
from scenarios.session.run_dir import RunFolder
from scenarios.store.sqlite import Store
from scenarios.tasks import build
from scenarios.tasks.grading.answers import ClassGrader
from scenarios.tasks.problems import Bank

MEASURED = frozenset({"greedy", VOTES, ALONE, RATE, UNIVERSAL, "measure", "probe", "probe_exam", "test"})
"""Stages whose results are reported, and decide no request of another of these stages or of any other; but new TRs of
a new teacher (`probe`) are examined (`probe_exam`)."""


def to_resume(folder: RunFolder, overrides: Sequence[str]) -> Scenario:
    """The scenario with which the class goes on.

    Raises:
        ScenarioError: it would change what was asked before.
    """
    old, new = folder.scenario(), folder.scenario(tuple(overrides))
    if changed := load.asked_differs(old, new, folder.without_answers(old)):
        raise ScenarioError(
            f"a resumed class asks what it asked before; this would change it:\n{'; '.join(changed)}\n"
            "For that, start a new class: python run.py SCENARIO.yaml --set ..."
        )
    return new


class Extension:
    """A class that goes on with a larger scenario: more rationales, problems, exams, repeats, students or levels.

    Args:
        folder: of the run.
        overrides: what changes.
        joining: students that come after the others.

    Raises:
        ScenarioError: the larger scenario would not ask what was asked before.
    """

    def __init__(self, folder: RunFolder, overrides: Sequence[str] = (), joining: Sequence[Agent] = ()) -> None:
        self._folder = folder
        self.joining = joining
        self._before, self.scenario = folder.scenario(), folder.scenario(tuple(overrides))
        for student in joining:
            self.scenario = with_student(self.scenario, student)
        self.changed = load.asked_differs(self._before, self.scenario)
        """The entries that change what is asked, as KEY: OLD -> NEW."""
        without_answers = folder.without_answers(self._before)
        if fixed := load.beyond_extension(self._before, self.scenario, without_answers):
            raise refused(fixed)

    @property
    def unchanged(self) -> str:
        """What to say where the class asks the same as before; empty: it asks more."""
        if self.changed:
            return ""
        with Store(self._folder.path) as store:
            complete = facts_from(store).status == "complete"
        result = f"It is complete: there is nothing to do. Its result: python run.py report {self._folder}"
        return f"Nothing that the class asks changes. {result if complete else self._folder.go_on}"

    def prepare(self, store: Store, answerers: Mapping[str, str]) -> None:
        """Keep the new problems; see `check`, which is called first."""
        if larger := self.check(store, answerers):
            store.keep_bank(larger)

    def expected_answerers(self, store: Store) -> dict[str, str]:
        """By name, the answerer digests as far as they are known before any model is loaded.

        A new student has that of an agent with the same settings; a made-up one if there is none, which hardly ever
        decides whether the others are asked the same.
        """
        known = store.answerers()
        settings = {
            one.name: digest("expected", one.model, one.persona, one.engine, one.dtype, one.thoughts, one.engine_args)
            for one in (self.scenario.teacher, *self.scenario.students)
        }
        alike = {made_up: known[name] for name, made_up in settings.items() if name in known}
        return {name: alike.get(made_up, made_up) for name, made_up in settings.items()} | known

    def check(self, store: Store, answerers: Mapping[str, str]) -> Bank | None:
        """Draw the new problems, and check that everything that was asked is asked again.

        Args:
            store: the gradebook.
            answerers: by name, the digest of everything that decides an agent's answers.

        Returns:
            All problems; None: the class has none yet.

        Raises:
            ScenarioError: old requests would change or vanish.
            StoreError: an agent is another answerer now.
            TaskError: the source of the problems cannot draw more and keep the old ones.
        """
        if (bank := store.bank()) is None:  # it stopped before it had any problems
            return None
        larger = bank.grown(build.build_class(self.scenario, folder=self._folder.path))
        store.check_answerers(answerers)
        # The log-probabilities of solutions choose the pairs of one arm alone.
        ahead = MEASURED if "dense" in self.scenario.learn.arms else MEASURED | {"grade"}
        # Of new candidates the exam problems come after those that there are.
        ahead |= {INVENT, AGREE}
        with ClassGrader() as grader:
            before = self._asked(self._before, bank, store, {**store.answerers(), **answerers}, grader.same)
            after = self._asked(self.scenario, larger, store, answerers, grader.same, ahead)
        # How many further rationales there are depends on the cost of all exams, which are not there yet; and of more
        # rationales the teacher chooses anew.
        free = (VOTES, UNIVERSAL)
        lost = [
            id for id, one in before.items() if one.stage not in free and (id not in after or after[id].to != one.to)
        ]
        if lost:
            answered = sum(store.find(id) is not None for id in lost)
            count = f"{many(len(lost), 'request')} ({answered:,} answered) are not among those that it asks so far"
            raise refused([*self.changed, count])
        return larger

    def _asked(
        self,
        scenario: Scenario,
        bank: Bank,
        store: Store,
        answerers: Mapping[str, str],
        same: Same,
        ahead: Collection[str] = (),
    ) -> dict[str, Request]:
        """Every request of the scenario as far as the results in the store tell, by id.

        `ahead`: missing results of these stages decide nothing, so the level goes on as if the requests had failed.
        """
        asked: dict[str, Request] = {}
        asks = self._folder.only(scenario, bank)
        level = steered(scenario, asks, store, same, answerers)
        steps = deque([level.begin()])
        while steps:
            step, _ = replay(level, steps.popleft(), store.find_all)
            for request in (*step.shared, *step.requests):
                asked.setdefault(request.id, request)
            missing = [request.id for request in step.requests if request.stage in ahead]
            steps += [level.receive(Result(id, "", None, False, failed="missing")) for id in missing]
        return asked


def refused(changed: Sequence[str]) -> ScenarioError:
    """The error for an extension that would change these entries."""
    return ScenarioError(
        f"an extended class asks all that it asked before, and more; this would change it:\n{'; '.join(changed)}\n"
        "For that, start a new class with --set; to score fewer of its answers: python run.py replay RUN --set ..."
    )


def replayed(folder: RunFolder, overrides: Sequence[str]) -> tuple[Summary, dict[str, object], str]:
    """The summary under changed rules, what changed and was never asked as data, and sentences on the latter.

    Where fewer exams are asked than in the run, also the share of TPs with the same choice.

    Raises:
        ScenarioError: the records do not suffice for these changes.
    """
    old, new = folder.scenario(), folder.scenario(tuple(overrides))
    if beyond := load.beyond_replay(old, new):
        raise ScenarioError("replay scores what was recorded; this would be another class:\n" + "; ".join(beyond))
    with load.located(folder.scenario_file, overrides):
        rebuilt = folder.rebuild(new)
    summary, missing = rebuilt.summary, rebuilt.missing
    replay: dict[str, object] = {"changed": load.difference(old, new), "never_asked": missing}
    said = []
    if new.exam.allocation != "full" and old.exam.allocation == "full":
        same, n = _same_choices(folder, new)
        replay["same_choices"] = same
        shares = ", ".join(f"{LABELS[name]} {percent(share)}" for name, share in same.items())
        said = [f"The same choice as with all exams, of {many(n, 'problem')}: {shares}."]
    if not missing:
        return summary, replay, "\n".join(said)
    counted = ", ".join(f"{n:,} {ASKED.get(stage, f'requests of stage {stage}')}" for stage, n in missing.items())
    # Levels 2 and 3 wait for results before they ask on.
    then = "" if new.levels == (1,) else ", and all that would have followed"
    return summary, replay, "\n".join([*said, f"Never asked in this run, and so left out: {counted}{then}"])


def _same_choices(folder: RunFolder, fewer: Scenario) -> tuple[dict[str, float | None], int]:
    """By method, the share of TPs on which a class with fewer exams chooses as one with all; and the number of TPs."""
    full = replace(fewer, exam=replace(fewer.exam, allocation="full"))
    chosen = []
    for scenario in (full, fewer):
        with folder.recorded(scenario) as found:
            lessons = found.outcome.lessons
            sheets = [Sheet(lesson, found.same) for lesson in lessons]
            chosen.append(chosen_answers(scenario, lessons, sheets, found.same))
    pairs = {
        name: list(zip(chosen[0].get(name, ()), chosen[1][name], strict=False)) for name in M1 if name in chosen[1]
    }
    return {name: mean(a.answer == b.answer for a, b in of) for name, of in pairs.items()}, len(lessons)


def show_replayed(console: Console, folder: RunFolder, overrides: Sequence[str], *, as_json: bool) -> None:
    """Print the summary of a run under changed rules, and what was never asked; see `replayed`."""
    summary, changes, never_asked = replayed(folder, overrides)
    if not as_json:
        say(console, f"replayed with {', '.join(overrides) or 'nothing changed'}; summary.json is unchanged")
    show_summary(console, summary, as_json=as_json, replay=changes)
    if never_asked and not as_json:
        say(console, never_asked)
