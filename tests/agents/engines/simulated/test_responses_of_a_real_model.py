"""The smallest model as a teacher and a student at level 3 says something of each kind, in the form begun for it."""

import asyncio

import pytest

from agents import handlers
from agents.engines.base import EngineSettings
from broker.work_messages import (
    Answered,
    Ask,
    Exemplar,
    Explain,
    Mistake,
    Reflect,
    Revise,
    Sampling,
)

TASK = "Each text is a sentence. Answer Yes if it is a question, and No if it is not."
SET = (Exemplar("Where is the key?", answer="Yes"), Exemplar("The key is lost.", answer="No"))
SHORT = Sampling(max_tokens=48)


@pytest.mark.models
def test_the_smallest_model_reflects_revises_asks_and_explains() -> None:
    from agents.engines.local.engine import TransformersEngine
    from agents.models.catalogue import ensure

    folder = ensure("smollm2-135m-instruct").folder
    mistakes = (Mistake("May I come in?", "It ends well.\nAnswer: No"),)
    reflect = Reflect(task=TASK, answer_form="yes_no", material=SET, mistakes=mistakes, reasons=2, sampling=SHORT)
    revise = Revise(task=TASK, answer_form="yes_no", material=SET, count=2, sampling=SHORT)

    async def all_of_them() -> tuple[Answered, ...]:
        engine = TransformersEngine(EngineSettings("smollm2", folder, 0, 1))
        await engine.start(lambda request_id, tokens: None)
        try:
            return await asyncio.gather(
                handlers.answer(engine, "", "00", reflect),
                handlers.answer(engine, "", "01", revise),
                handlers.answer(engine, "", "02", Ask(material=SET, sampling=SHORT)),
                handlers.answer(engine, "", "03", Explain(material=SET, question="Why yes?", sampling=SHORT)),
            )
        finally:
            await engine.stop()

    reflected, revised, asked, explained = asyncio.run(all_of_them())
    assert reflected.text.startswith("1. ")
    assert revised.text.startswith("Example 3\nText: ")
    assert asked.text and "\n" not in asked.text
    assert explained.text
    assert all(one.usage.completion_tokens for one in (reflected, revised, asked, explained))
