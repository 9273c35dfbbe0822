"""The trainings of a round of level 2: the preference pairs of each arm, and one training per arm and seed.

Every training starts from the round's own weights, and has as many pairs from the same TRs and exams. Which TR is
preferred to which is decided in scenarios/scoring/pairs.py.
"""

import hashlib
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from broker.protocol import digest
from broker.work_messages import PreferencePair, Recipe, Sampling, Train
from scenarios.config.schema import ArmName
from scenarios.levels.asker import Asker
from scenarios.levels.base import MessageWithFile, Request, Result, Setup, TextOf
from scenarios.levels.flow import Flow, play
from scenarios.levels.results import training_result
from scenarios.records.learn import Preference, Training
from scenarios.records.observe import TeachingProblemRecord
from scenarios.scoring.pairs import equal, of_class


class Trainings:
    """The trainings of one round.

    Args:
        setup: what the round is made from; its weights are those that are trained.
        round: number of the round, from 1.
    """

    def __init__(self, setup: Setup, round: int) -> None:
        self._scenario, self._bank, self._round = setup.scenario, setup.bank, round
        self._asker = Asker(setup, 2)
        self._tps = {item.tp.id: item.tp for item in setup.bank.items}
        self._trainings: dict[tuple[ArmName, int], Training] = {}
        """By arm and seed."""
        self._awaited: dict[str, list[tuple[ArmName, int]]] = {}
        """By request: arms with the same pairs are trained once."""

    def train(self, lessons: Sequence[TeachingProblemRecord]) -> Flow[list[str]]:
        """Choose the pairs of every arm and train on them; returns the new weights, each once."""
        yield from play(self.choose(lessons), self._receive)
        return self.weights

    def choose(self, lessons: Sequence[TeachingProblemRecord]) -> list[Request]:
        """Choose the pairs of every arm; returns the requests of the trainings."""
        scenario, learn = self._scenario, self._scenario.learn
        students = [student.name for student in scenario.students]
        found = {
            (arm, seed): of_class(
                lessons, students, scenario.scoring, learn, arm, *_draw(scenario.seed, self._round, seed=seed)
            )
            for arm in learn.arms
            for seed in range(learn.seeds)
        }
        chosen = equal({key: pairs for key, (pairs, _) in found.items()})
        requests: dict[str, Request] = {}
        for key, (pairs, gaps) in found.items():
            arm, seed = key
            training = Training(arm=arm, pairs=chosen[key], available=sum(map(len, pairs)), gaps=gaps, seed=seed)
            if training.pairs:
                request = self.request(training)
                training = replace(training, request=request.id)
                requests[request.id] = request
                self._awaited.setdefault(request.id, []).append(key)
            self._trainings[key] = training
        return list(requests.values())

    @property
    def requests(self) -> int:
        """Number of distinct trainings; before the pairs are chosen, as if all of them were."""
        if not self._trainings:
            return self._most
        return len({one.request for one in self._trainings.values() if one.request})

    @property
    def new_teachers(self) -> int:
        """Number of new teachers that came of the trainings or may still come."""
        return len(self._awaited) + len(self.weights) if self._trainings else self._most

    @property
    def all(self) -> tuple[Training, ...]:
        """Every training, by arm in the scenario's order, and seed."""
        return tuple(self._trainings.values())

    @property
    def weights(self) -> list[str]:
        """The new weights, each once."""
        return list(dict.fromkeys(one.weights for one in self._trainings.values() if one.weights))

    def message(self, request: Request, text_of: TextOf) -> MessageWithFile:
        """The message of a training, with its file of pairs."""
        training = self._trainings[self._awaited[request.id][0]]
        rows = [self._pair(pair, text_of) for pair in training.pairs]
        content = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
        content_digest = hashlib.sha256(content).hexdigest()
        name = f"pairs-{content_digest}.jsonl"
        message = Train(pairs=name, pairs_digest=content_digest, recipe=self._recipe(training.seed))
        return MessageWithFile(message, name, content)

    def request(self, training: Training) -> Request:
        """The request of a training: who is trained, how, and on which texts; not the scores that chose them."""
        recipe = self._recipe(training.seed)
        texts = []
        for pair in training.pairs:
            tp, text = self._tps[pair.tp], [pair.chosen_material, pair.chosen_ended]
            if recipe.method != "sft":  # which does not use the rejected texts
                text += [pair.rejected_material, pair.rejected_ended]
            texts.append((tp.text, tp.form, *text))
        teacher = self._scenario.teacher.name
        key = self._asker.key("Train", teacher, recipe, self._bank.demonstrations, texts)
        return self._asker.request("Train", teacher, "train", Sampling(), key, round=self._round)

    @property
    def _most(self) -> int:
        return len(self._scenario.learn.arms) * self._scenario.learn.seeds

    def _receive(self, result: Result) -> Sequence[Request]:
        weights, figures = training_result(result)
        for key in self._awaited.pop(result.request_id):
            training = self._trainings[key]
            self._trainings[key] = replace(training, weights=weights, failed=result.failed, figures=figures)
        return ()

    def _recipe(self, seed: int) -> Recipe:
        training = self._scenario.learn.training
        drawn = digest(*_draw(self._scenario.seed, training.seed, seed=seed))
        return replace(training, seed=int(drawn[:7], 16))

    def _pair(self, pair: Preference, text_of: TextOf) -> PreferencePair:
        tp = self._tps[pair.tp]
        return PreferencePair(
            prompt=tp.text,
            chosen=text_of(pair.chosen),
            rejected=text_of(pair.rejected),
            score_chosen=pair.score_chosen,
            score_rejected=pair.score_rejected,
            tp=pair.tp,
            answer_form=tp.form,
            demonstrations=self._bank.demonstrations,
            chosen_ended=pair.chosen_ended,
            rejected_ended=pair.rejected_ended,
        )


def _draw(*parts: int, seed: int) -> tuple[int, ...]:
    """What a draw is made from. The first seed adds nothing, so its draws do not depend on the number of seeds."""
    return (*parts, seed) if seed else parts
