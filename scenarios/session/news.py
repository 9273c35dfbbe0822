"""Formats what people read about the rounds of level 3 while a class runs."""

from scenarios.levels.base import RoundNews
from scenarios.report.formatting import many, percent


def line(news: RoundNews) -> str:
    """One line: round, run and arm where there are several, then the teacher's F1."""
    parts = [f"run {news.run + 1}"] * (news.runs > 1) + [news.arm] * (news.arm != "class")
    where = f" ({', '.join(parts)})" if parts else ""
    return f"{news.round or 'start'}{where}: {_text(news)}"


def _text(news: RoundNews) -> str:
    if news.held_out:
        return f"teacher F1 {percent(news.teacher_f1)} on held-out items"
    if not news.kept:
        return "no set was answered often enough to be kept"
    text = f"teacher F1 {percent(news.teacher_f1)} on training items with the best of {many(news.sets, 'set')}"
    students = ", ".join(f"{name} {percent(f1)}" for name, f1 in news.students.items())
    return f"{text}; students {students}" if students else text
