"""Prompt of a `Judge`: is this solution right, or which of several agrees best with the others.

The first is self-evaluation in words (yes or no, drawn several times, whose share of yes estimates the probability that
the model finds the solution right: Kadavath et al., arXiv 2207.05221). The second is universal self-consistency (Chen
et al., arXiv 2311.17311).
"""

from agents.engines.base import Turn
from agents.prompts.layout import Layout, system
from broker.work_messages import Judge

CHECK = "You check solutions of problems. Is this solution right? You answer with one word: Yes or No."
ANSWER = "Answer:"
"""The reply to CHECK begins with this, since small models that reason first often end without an answer."""
COMPARE = (
    "You compare solutions of one problem in a few short lines, and choose the one that agrees best with the others. "
    'The last line is "Answer: " followed by the number of that solution.'
)


def judge(request: Judge, persona: str) -> Layout:
    """Ask for a judgement of one solution, or for the choice of one of several."""
    solutions = [solution.strip() for solution in request.solutions]
    if len(solutions) == 1:
        shown, instructions, begun = [f"Solution:\n{solutions[0]}"], CHECK, ANSWER
    else:
        shown = [f"Solution {number}:\n{one}" for number, one in enumerate(solutions, 1)]
        instructions, begun = COMPARE, "Check:"
    text = "\n\n".join([f"Problem: {request.problem.strip()}", *shown])
    return Layout((system(persona, instructions), Turn("user", text)), begun)
