"""The arms of a round of level 2: the pairs of each, and its trainings, one per seed.

Every training begins with the round's own weights, and has as many pairs out of the same TRs and exams. Which TR is
preferred to which is scenarios/scoring/pairs.py; what is asked before and after, learn_round.py.
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
from scenarios.levels.results import training_result
from scenarios.records.learn import Preference, Training
from scenarios.records.observe import TeachingProblemRecord
from scenarios.scoring.pairs import equal, of_class

_Key = tuple[ArmName, int]
"""An arm, and which of its seeds."""


class Arms:
    """The trainings of one round.

    Args:
        setup: what its round is made from; its weights are what is trained on.
        number: of the round, from 1.
    """

    def __init__(self, setup: Setup, number: int) -> None:
        scenario, bank = setup.scenario, setup.bank
        self._setup, self._scenario, self._bank, self._number = setup, scenario, bank, number
        self._tps = {item.tp.id: item.tp for item in bank.items}
        self._trainings: dict[_Key, Training] = {}
        self._awaited: dict[str, list[_Key]] = {}
        """By request: arms with the same pairs are trained once."""

    def begin(self, lessons: Sequence[TeachingProblemRecord]) -> list[Request]:
        """Choose the pairs of every arm, and ask for the trainings."""
        scenario, learn = self._scenario, self._scenario.learn
        students = [student.name for student in scenario.students]
        found = {
            (arm, seed): of_class(
                lessons, students, scenario.scoring, learn, arm, *_parts(scenario.seed, self._number, seed=seed)
            )
            for arm in learn.arms
            for seed in range(learn.seeds)
        }
        cut = equal({key: pairs for key, (pairs, _) in found.items()})
        requests: dict[str, Request] = {}
        for key, (pairs, gaps) in found.items():
            arm, seed = key
            one = Training(arm=arm, pairs=cut[key], available=sum(map(len, pairs)), gaps=gaps, seed=seed)
            if one.pairs:
                request = self._request(one)
                one = replace(one, request=request.id)
                requests[request.id] = request
                self._awaited.setdefault(request.id, []).append(key)
            self._trainings[key] = one
        return list(requests.values())

    def receive(self, result: Result) -> bool:
        """Take down what came of a training; False: none of these."""
        whose = self._awaited.pop(result.request_id, [])
        if whose:
            weights, figures = training_result(result)
        for key in whose:
            training = self._trainings[key]
            self._trainings[key] = replace(training, weights=weights, failed=result.failed, figures=figures)
        return bool(whose)

    @property
    def begun(self) -> bool:
        """Whether the pairs are chosen."""
        return bool(self._trainings)

    @property
    def over(self) -> bool:
        """Whether every training has ended, one way or the other."""
        return self.begun and not self._awaited

    @property
    def asked(self) -> int:
        """How many trainings there are."""
        return len({one.request for one in self._trainings.values() if one.request})

    @property
    def awaited(self) -> int:
        """How many of them go on."""
        return len(self._awaited)

    @property
    def trainings(self) -> tuple[Training, ...]:
        """By arm, in the scenario's order, and seed."""
        return tuple(self._trainings.values())

    @property
    def weights(self) -> list[str]:
        """What came of them, each once."""
        return list(dict.fromkeys(one.weights for one in self._trainings.values() if one.weights))

    def message(self, request: Request, text_of: TextOf) -> MessageWithFile:
        """What is sent for a training, with its file of pairs."""
        training = self._trainings[self._awaited[request.id][0]]
        rows = [self._pair(pair, text_of) for pair in training.pairs]
        content = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
        digested = hashlib.sha256(content).hexdigest()
        name = f"pairs-{digested}.jsonl"
        return MessageWithFile(
            Train(pairs=name, pairs_digest=digested, recipe=self._recipe(training.seed)), name, content
        )

    def _request(self, training: Training) -> Request:
        """Its id: a digest of who is trained, how, and on which texts; not of the scores that chose them."""
        recipe = self._recipe(training.seed)
        texts = []
        for pair in training.pairs:
            tp, text = self._tps[pair.tp], [pair.chosen_material, pair.chosen_ended]
            if recipe.method != "sft":  # which has no use for what was rejected
                text += [pair.rejected_material, pair.rejected_ended]
            texts.append((tp.text, tp.form, *text))
        asker, teacher = Asker(self._setup, 2), self._scenario.teacher.name
        key = asker.key("Train", teacher, recipe, self._bank.demonstrations, texts)
        return asker.request("Train", teacher, "train", Sampling(), key, round=self._number)

    def _recipe(self, seed: int) -> Recipe:
        training = self._scenario.learn.training
        drawn = digest(*_parts(self._scenario.seed, training.seed, seed=seed))
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


def _parts(*of_class: int, seed: int) -> tuple[int, ...]:
    """What a draw is made from. The first seed adds nothing, so that with more of them its draws and ids stay."""
    return (*of_class, seed) if seed else of_class
