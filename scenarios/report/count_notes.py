"""The sentences below the tables of a report: how many answers the figures are made of, and what was odd."""

from scenarios.report import allocation
from scenarios.report.exams import exam_source_sentence
from scenarios.report.formatting import many, percent
from scenarios.report.summary import Summary
from scenarios.scoring.equal_cost import MOST

OTHER_ANSWERS = {
    "further_rationales": "further rationales, for SC at the cost of M1",
    "alone_answers": "students' answers to the teaching problems, without a rationale",
    "judgements": "the teacher's judgements of its rationales, and choices among them",
    "later_exam_answers": "exam answers under new rationales",
    "teacher_exam_answers": "exam answers of the teacher as its own student",
    "training_answers": "the teacher's own answers to training items",
    "held_out_answers": "to held-out items",
}
"""By their name in ClassCounts."""
ODDITIES = {
    "identical_rationales": "{n} rationale{s} with the same text as another (examined once; each counts)",
    "problems_with_most_further": f"{{n}} problem{{s}} on which M1's tokens buy more than {MOST} further rationales",
    "without_dialogue": "{n} exam{s} that a student took without an answered question",
    "cut_off": "{n} text{s} cut off at max_tokens",
    "formulas_not_compared": "{n} formula{s} not compared in time by math-verify, but as text alone",
    "exam_answers_left_out": "{n} exam answer{s} left out of the scores (unanswered under another rationale)",
    "problems_without_common_exams": "{n} problem{s} without an exam under all rationales (votes decide there)",
    "mixed_grades": "{n} group{s} of equal answers that the grader judged differently (the first counts)",
}


def counted(summary: Summary) -> str:
    """The numbers of texts behind the figures, and notes on agents."""
    counts = summary.counts
    exams = counts.exam_answers
    begin = many(exams, "exam answer") + _unreadable(counts.unparsable_exam_answers, exams, "wrong")
    if summary.solves:
        rationales = counts.teaching_rationales
        missing = _unreadable(counts.unparsable_rationales, rationales, "not examined")
        begin = f"{many(rationales, 'teaching rationale')}{missing} and {begin}"
    else:
        begin += " of students"
    parts = [f"From {begin}{_talked(summary)}"]
    for name, what in OTHER_ANSWERS.items():
        if n := getattr(counts, name):
            parts.append(f"{what}: {n:,}{_unreadable(getattr(counts, f'unparsable_{name}', 0), n, 'wrong')}")
    parts += [
        text.format(n=f"{n:,}", s="" if n == 1 else "s")
        for name, text in ODDITIES.items()
        if (n := getattr(counts, name))
    ]
    notes = (
        _repaired(summary)
        + _shared(summary)
        + _cached(summary)
        + _thoughts(summary)
        + _spent(summary)
        + _at_servers(summary)
    )
    fewer = f" {allocation.sentences(summary.allocation)}" if summary.allocation else ""
    source = exam_source_sentence(summary.exams)
    return "; ".join(parts) + "." + f" {source}" * bool(source) + notes + fewer


def _unreadable(n: int, of: int, so: str) -> str:
    """A note on texts without a readable answer."""
    return f" ({n:,} of them without a readable answer: {so})" if n and of else ""


def _talked(summary: Summary) -> str:
    """The cost of questions before the exams."""
    talks, each = summary.counts.questions_and_answers, summary.completions_per_rationale
    if not talks or each is None:
        return ""
    asked = many(talks, "question or answer", "questions and answers")
    return f", and {asked} before them ({each:.1f} completions per rationale in all)"


def _repaired(summary: Summary) -> str:
    """How many programs were repaired, and how many of these then passed."""
    counts, parts = summary.counts, list[str]()
    for whose, n, right in (
        ("the teacher", counts.repairs, counts.repairs_right),
        ("students in exams", counts.exam_repairs, counts.exam_repairs_right),
    ):
        if n:
            parts.append(f"{whose} repaired {many(n, 'program')}, of which {right:,} then passed all visible cases")
    return f" Self-debugging: {'; '.join(parts)}." if parts else ""


def _cached(summary: Summary) -> str:
    """The share of the prompts that came from a prefix cache; empty where no engine has one."""
    prompt, cached, cacheable = (
        sum(getattr(agent, name) for agent in summary.agents)
        for name in ("prompt_tokens", "cached_prompt_tokens", "cacheable_prompt_tokens")
    )
    if not cached:
        return ""
    return (
        f" Of {prompt:,} prompt tokens {percent(cached / prompt)} came from a prefix cache; about "
        f"{percent(cacheable / prompt)} are whole turns of an earlier prompt (engines may reuse parts of turns, too)."
    )


def _shared(summary: Summary) -> str:
    """Which agents share the answers of another one."""
    return "".join(
        f" {agent.name} answers as {' and '.join(agent.shared)} "
        f"{'does' if len(agent.shared) == 1 else 'do'} (same model, persona and sampling): "
        f"{many(sum(agent.shared.values()), 'answer')} shared."
        for agent in summary.agents
        if agent.shared
    )


def _thoughts(summary: Summary) -> str:
    """How many answers came with thoughts, and their tokens."""
    return "".join(
        f" {agent.name}: {many(agent.thoughts, 'answer')} came with thoughts, which are left out "
        f"(about {agent.thought_tokens:,} of {agent.completion_tokens:,} completion tokens)."
        for agent in summary.agents
        if agent.thoughts
    )


def _spent(summary: Summary) -> str:
    """The cost of the answers, where there is any."""
    each = [f"{agent.name} {agent.spent:.4g}" for agent in summary.agents if agent.spent is not None]
    return f" Spent at servers: {', '.join(each)}." if each else ""


def _at_servers(summary: Summary) -> str:
    """What servers did not take, and what was changed for them; docs/servers.md says what it means."""
    text = ""
    for agent in summary.agents:
        name = agent.name
        if refused := [feature for feature in agent.without if feature != "prefill"]:
            text += f" The server of {name} does not take {', '.join(refused)} (see docs/servers.md)."
        if "prefill" in agent.without:
            text += f" The server of {name} does not go on with a begun answer (omit: [prefill])."
        if agent.role_marks_broken:
            text += f" In texts for {name}, {many(agent.role_marks_broken, 'role mark')} got a space."
        if agent.answers_cut:
            text += f" {many(agent.answers_cut, 'answer')} of {name} went on far beyond max_tokens and got cut off."
    return text
