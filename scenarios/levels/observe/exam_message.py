"""The message of an exam under a TR, made once for all students that are asked the same.

One object is also encoded once, and its prompt is made once: see `envelope` in broker/protocol.py and `ClassRunner`.
"""

from functools import lru_cache

from broker.work_messages import AnswerForm, Examine, Exchange, Exemplar, Sampling


@lru_cache(maxsize=1024)
def exam_message(
    problem: str,
    form: AnswerForm,
    sampling: Sampling,
    material: tuple[Exemplar, ...],
    demonstrations: tuple[Exemplar, ...],
    dialogue: tuple[Exchange, ...],
) -> Examine:
    """The message; the arguments are its fields."""
    return Examine(
        problem=problem,
        answer_form=form,
        sampling=sampling,
        material=material,
        demonstrations=demonstrations,
        dialogue=dialogue,
    )
