"""How far a trained teacher has moved from the original one: KL(new || original) per token, on the new one's own texts.

Each trained teacher writes one text per held-out problem, drawn from its whole distribution (temperature 1, no token
left out: else it would be another distribution's divergence), and says how likely it finds it; when all are through,
so does the original, so that weights are changed once. What is made of it is scenarios/report/learn.py.
"""

from broker.protocol import digest
from broker.work_messages import Grade, Sampling
from scenarios.levels.asker import UNSAMPLED, Asker
from scenarios.levels.base import Request, Result, Setup, TextOf
from scenarios.records.learn import Likelihood

STAGE = "drift"


def whole_distribution(sampling: Sampling) -> Sampling:
    """As long as others, and with nothing done to the model's distribution."""
    return Sampling(temperature=1.0, top_k=0, top_p=1.0, max_tokens=sampling.max_tokens)


class Drift:
    """The likelihoods of one round.

    Args:
        setup: what its round is made from.
        number: of the round, from 1.
    """

    def __init__(self, setup: Setup, number: int) -> None:
        self._setup, self._number = setup, number
        self._problems = {problem.id: problem for problem in setup.bank.held_out}
        self._texts: dict[str, tuple[str, Likelihood]] = {}
        """By request of the text: a digest of it, and what is known of its likelihood."""
        self._awaited: dict[str, list[tuple[str, bool]]] = {}
        """By request: of which texts, and whether under the original weights. Two teachers may write the same text."""
        self.compared = False
        """Whether the original teacher has been asked."""

    def written(self, result: Result, tp: str, weights: str) -> list[Request]:
        """A trained teacher has written a text: how likely does it find it itself?"""
        if result.failed or not result.text.strip():
            return []
        self._texts[result.request_id] = (digest(result.text), Likelihood(weights, tp, result.completion_tokens))
        return [self._request(result.request_id, original=False)]

    def compare(self) -> list[Request]:
        """How likely does the original teacher find all of them?"""
        self.compared = True
        requests = [self._request(text, original=True) for text in sorted(self._texts)]
        return list({request.id: request for request in requests}.values())

    def receive(self, result: Result) -> bool:
        """Take down a likelihood; False: none of these."""
        awaited = self._awaited.pop(result.request_id, [])
        for text, original in awaited:
            digested, known = self._texts[text]
            self._texts[text] = (digested, known.under(result.score, original=original))
        return bool(awaited)

    def __contains__(self, request_id: str) -> bool:
        """Whether this likelihood is awaited."""
        return request_id in self._awaited

    def message(self, request: Request, text_of: TextOf) -> Grade:
        """The teacher's own text, as the solution that is judged."""
        problem = self._problems[request.tp]
        return Grade(
            problem=problem.text,
            answer_form=problem.form,
            solution=text_of(request.tr),
            material=(),
            demonstrations=self._setup.bank.demonstrations,
        )

    @property
    def awaited(self) -> int:
        """How many likelihoods are still to come."""
        return len(self._awaited)

    @property
    def asked(self) -> int:
        """How many likelihoods there are, or will be: the original teacher is asked once of a text that two wrote."""
        return len(self._texts) + len({(known.tp, digested) for digested, known in self._texts.values()})

    def likelihoods(self, weights: str) -> tuple[Likelihood, ...]:
        """What is known of the texts of one teacher, by problem."""
        found = [one for _, one in self._texts.values() if one.weights == weights]
        return tuple(sorted(found, key=lambda one: one.tp))

    def _request(self, text: str, *, original: bool) -> Request:
        digested, known = self._texts[text]
        problem, weights = self._problems[known.tp], "" if original else known.weights
        asker, teacher = Asker(self._setup.with_weights(weights), 2), self._setup.scenario.teacher.name
        key = asker.key("Grade", teacher, problem.text, problem.form, digested, self._setup.bank.demonstrations)
        request = asker.request("Grade", teacher, STAGE, UNSAMPLED, key, tp=known.tp, tr=text, round=self._number)
        self._awaited.setdefault(request.id, []).append((text, original))
        return request
