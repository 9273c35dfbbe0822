"""Checks of the entries about `exam.maker`: those that it does not use, and classes that it does not go with."""

from collections.abc import Iterator, Mapping

from broker.errors import Key
from scenarios.config.invention_schema import Invention
from scenarios.config.schema import Agent, Exam, Scenario

USED_BY = {
    "bank": ("fixed", "retrieval"),
    "embedding": ("retrieval",),
    "abstain_below": ("retrieval",),
    "invent": ("invented",),
}
"""Makers that use an entry of `exam`."""


def maker_mistakes(scenario: Scenario, agents: Mapping[str, Agent]) -> Iterator[tuple[Key, str]]:
    """Mistakes in a scenario of the file, each with its key; `agents`: those of the class by name, copies too."""
    exam = scenario.exam
    for name, makers in USED_BY.items():
        if exam.maker not in makers and getattr(exam, name) != getattr(Exam(), name):
            below = _only_entry(exam.invent) if name == "invent" else ()
            yield ("exam", name, *below), f"is for exam.maker: {' or '.join(makers)}, not {exam.maker}; take it out"
    for name in ("bank", "embedding"):
        if getattr(exam, name) == "":
            yield ("exam", name), "is empty; name one, or leave the key out"
    if exam.maker == "invented":
        yield from _invention_mistakes(scenario, exam.invent, agents)


def _only_entry(invent: Invention) -> Key:
    """The entry that differs from its default; empty if there are several."""
    changed = [key for key in Invention.__struct_fields__ if getattr(invent, key) != getattr(Invention(), key)]
    return tuple(changed) if len(changed) == 1 else ()


def _invention_mistakes(
    scenario: Scenario, invent: Invention, agents: Mapping[str, Agent]
) -> Iterator[tuple[Key, str]]:
    if scenario.levels != (1,):
        yield ("exam", "maker"), "invented goes with level 1 alone; choose another maker for levels 2 and 3"
    if scenario.exam.score == "logprob":
        yield ("exam", "score"), "logprob reads worked solutions, and invented exam problems have none; take it out"
    if invent.candidates < scenario.exam.problems:
        message = f"{invent.candidates} are fewer than the {scenario.exam.problems} of exam.problems"
        yield ("exam", "invent", "candidates"), message
    if invent.by is not None and invent.by not in agents:
        yield ("exam", "invent", "by"), f"no agent is called {invent.by[:40]!r}; there are {', '.join(agents)}"
        return
    teaches = invent.by in (None, scenario.teacher.name)
    sampling = scenario.lesson.sampling if teaches else scenario.sampling_of(agents[invent.by or ""])
    if sampling.temperature == 0 or sampling.top_k == 1:
        of = "lesson.sampling" if teaches else f"the sampling of {invent.by}"
        yield ("exam", "maker"), f"invented asks for several draws, and {of} always draws the same text; raise it"
