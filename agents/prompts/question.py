"""Prompts of an `Ask` and of an `Explain`: a student's question about the teaching material, and the answer."""

from agents.engines.base import Turn
from agents.prompts.layout import Layout, system
from broker.work_messages import Ask, Exemplar, Explain

STUDENT = "You are a student. You are about to sit an exam on problems like those that your teacher solved for you."
TEACHER = "You are a teacher. A student has a question about what you taught."
ASK = "Ask your teacher one short question, in one line, about the step above that is least clear to you."
EXPLAIN = (
    "A student asks: {question}\n\nAnswer the student in two or three sentences about the solution above. "
    "Solve no other problem."
)
LINE = r" [^\n]+"


def ask(request: Ask, persona: str) -> Layout:
    """Ask a student for its question."""
    turns = (system(persona, STUDENT), Turn("user", f"{_solved(request.material)}\n\n{ASK}"))
    return Layout(turns, "Question:", LINE)


def explain(request: Explain, persona: str) -> Layout:
    """Ask a teacher to answer a student's question."""
    asked = EXPLAIN.format(question=" ".join(request.question.split()))
    return Layout((system(persona, TEACHER), Turn("user", f"{_solved(request.material)}\n\n{asked}")), "Explanation:")


def _solved(material: tuple[Exemplar, ...]) -> str:
    return "\n\n".join(f"Problem: {one.problem.strip()}\nSolution: {one.solution.strip()}" for one in material)
