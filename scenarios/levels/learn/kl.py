"""KL(trained || original): how far a trained teacher is from the original one, per token of its own texts.

Each trained teacher writes one text per held-out problem, drawn from its whole distribution (temperature 1, no token
left out: anything else would measure another distribution), and grades it. The original teacher grades all texts when
every teacher is measured, so that weights are changed once. scenarios/report/learn.py computes the divergence.
"""

from collections.abc import Sequence

from broker.protocol import digest
from broker.work_messages import Grade, Message, Sampling, Teach
from scenarios.levels.asker import UNSAMPLED, Asker
from scenarios.levels.base import Request, Result, Setup, TextOf
from scenarios.levels.flow import Flow, play
from scenarios.records.learn import Likelihood

STAGE = "drift"


class Likelihoods:
    """The texts that trained teachers of one round write, and how likely they are.

    Args:
        setup: what the round is made from.
        round: number of the round, from 1.
    """

    def __init__(self, setup: Setup, round: int) -> None:
        self._setup, self._round = setup, round
        self._teacher = setup.scenario.teacher.name
        self._problems = {problem.id: problem for problem in setup.bank.held_out}
        max_tokens = setup.scenario.lesson.sampling.max_tokens
        self._sampling = Sampling(temperature=1.0, top_k=0, top_p=1.0, max_tokens=max_tokens)
        self._writing: dict[str, Request] = {}
        """Requests of texts that are awaited."""
        self._texts: dict[str, tuple[str, Likelihood]] = {}
        """By request of the text: its digest and its likelihood."""
        self._grading: dict[str, list[tuple[str, bool]]] = {}
        """By awaited request: the texts it grades, and whether under the original weights.

        Two teachers may write the same text.
        """
        self._written = 0
        """Number of texts that were asked for."""

    def write(self, weights: str) -> Flow[None]:
        """Let the teacher with these weights write a text per problem and grade it."""
        asker = Asker(self._setup.with_weights(weights), 2)
        requests = [asker.teach(one, STAGE, self._sampling, round=self._round) for one in self._problems.values()]
        self._writing |= {request.id: request for request in requests}
        self._written += len(requests)
        yield from play(requests, self._receive)

    def compare(self) -> Flow[None]:
        """Let the original teacher grade all texts."""
        requests = [self._grade(text, original=True) for text in sorted(self._texts)]
        yield from play({request.id: request for request in requests}.values(), self._receive)

    def message(self, request: Request, text_of: TextOf) -> Message:
        """The message of a request: write a text, or grade the teacher's own text as if it were the solution."""
        problem, demonstrations = self._problems[request.tp], self._setup.bank.demonstrations
        form = problem.form
        if request.kind == "Teach":
            return Teach(
                problem=problem.text, answer_form=form, sampling=request.sampling, demonstrations=demonstrations
            )
        return Grade(
            problem=problem.text,
            answer_form=form,
            solution=text_of(request.tr),
            material=(),
            demonstrations=demonstrations,
        )

    @property
    def requests(self) -> int:
        """Number of requests for all texts so far: the original teacher grades a text of two teachers once."""
        compared = {(likelihood.tp, text_digest) for text_digest, likelihood in self._texts.values()}
        return self._written + 2 * len(self._writing) + len(self._texts) + len(compared)

    def of(self, weights: str) -> tuple[Likelihood, ...]:
        """The likelihoods of one teacher's texts, by problem."""
        found = [likelihood for _, likelihood in self._texts.values() if likelihood.weights == weights]
        return tuple(sorted(found, key=lambda likelihood: likelihood.tp))

    def _receive(self, result: Result) -> Sequence[Request]:
        id = result.request_id
        if (request := self._writing.pop(id, None)) is not None:
            if result.failed or not result.text.strip():
                return ()
            self._texts[id] = (digest(result.text), Likelihood(request.weights, request.tp, result.completion_tokens))
            return (self._grade(id, original=False),)
        for text, original in self._grading.pop(id):
            text_digest, likelihood = self._texts[text]
            self._texts[text] = (text_digest, likelihood.under(result.score, original=original))
        return ()

    def _grade(self, text: str, *, original: bool) -> Request:
        text_digest, likelihood = self._texts[text]
        problem, demonstrations = self._problems[likelihood.tp], self._setup.bank.demonstrations
        asker = Asker(self._setup.with_weights("" if original else likelihood.weights), 2)
        key = asker.key("Grade", self._teacher, problem.text, problem.form, text_digest, demonstrations)
        request = asker.request(
            "Grade", self._teacher, STAGE, UNSAMPLED, key, tp=problem.id, tr=text, round=self._round
        )
        self._grading.setdefault(request.id, []).append((text, original))
        return request
