"""Ability of students, difficulty of EPs and quality of TRs by one item response model, fitted to all EAs of a class.

A Rasch model with a third facet (Linacre, Many-Facet Rasch Measurement, 1989), in logits:
P(an EA is right) = logistic(ability of the student + quality of the TR - difficulty of the EP). Qualities and
difficulties have normal priors whose spreads are estimated from the data (EM with Laplace's approximation), so rows
that are all right or all wrong have finite values, and chance is not taken for quality. Like every fit of this kind
(penalised quasi-likelihood) it draws abilities together where a TR and an EP have few EAs: by about 7 % with 4 students
and 4 EPs, by 2 % with 6 students and 9 EPs.

Fitted by Newton's method. Only abilities are shared between TPs, and within a TP the Hessian is diagonal but for one
block of TRs x EPs, so 14,000 parameters of 700,000 EAs take seconds. Kept libraries do not have this model at this
size: py-irt has one facet and needs torch and pyro, girth has one facet and dense matrices of persons x items, and
the mixed GLM of statsmodels takes a column of its design per parameter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scenarios.scoring.exam_counts import ExamCounts

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

ABILITY_SD = 3.0
"""Of the prior of abilities: so wide that it matters only where a student is right everywhere or nowhere."""
STEPS = 200
CLOSE = 1e-4
"""Changes per step, in logits, at which the fit ends."""
LARGEST_STEP = 2.0


@dataclass(frozen=True)
class Facets:
    """The fitted model, in logits."""

    ability: "Array"
    """By student: the log-odds on an EP of mean difficulty after a TR of mean quality."""
    covariance: "Array"
    """Of the abilities; the unit is the TP (sandwich estimate). NaN for a single TP."""
    model_variance: "Array"
    """Of the abilities, if the model held: larger than the sandwich estimate where few TPs happen to be alike."""
    difficulty: list[dict[str, float]]
    """By TP and EP. Their mean is 0."""
    quality: list[dict[str, float]]
    """By TP and TR. The mean of each TP is 0, since TRs of different TPs have no exam in common."""
    difficulty_sd: float
    quality_sd: float
    """Spread between the TRs of one TP."""


def fit(counts: Sequence[ExamCounts]) -> Facets:
    """Fit the model to TPs that have exams of the same students.

    Raises:
        ValueError: there are no exams.
    """
    import numpy as np

    if not any(one.asked.any() for one in counts):
        raise ValueError("no exams: the model of abilities needs some")
    shape = np.max([one.asked.shape for one in counts], axis=0)
    asked, right = np.zeros((2, len(counts), *shape))
    for number, one in enumerate(counts):
        _, trs, eps = one.asked.shape
        asked[number, :, :trs, :eps], right[number, :, :trs, :eps] = one.asked, one.right
    has_tr, has_ep = asked.any(axis=(1, 3)), asked.any(axis=(1, 2))

    ability = np.zeros(shape[0])
    quality, difficulty = np.zeros(has_tr.shape), np.zeros(has_ep.shape)
    spreads = np.ones(2)  # variances of quality and difficulty
    for _ in range(STEPS):
        step = _Newton(asked, right, ability, quality, difficulty, spreads)
        moved = [np.clip(one, -LARGEST_STEP, LARGEST_STEP) for one in (step.ability, step.quality, step.difficulty)]
        ability, quality, difficulty = (a + b for a, b in zip((ability, quality, difficulty), moved, strict=True))
        before = spreads
        # One observation of variance 1 as the prior of each spread, so that it never becomes 0 or endless.
        spreads = np.array(
            [
                (1 + ((values**2 + uncertain) * has).sum()) / (1 + has.sum())
                for values, uncertain, has in (
                    (quality, step.quality_variance, has_tr),
                    (difficulty, step.difficulty_variance, has_ep),
                )
            ]
        )
        if max(*(np.abs(one).max() for one in moved), np.abs(np.sqrt(spreads) - np.sqrt(before)).max()) < CLOSE:
            break
    mode = _Newton(asked, right, ability, quality, difficulty, spreads)

    level = (quality * has_tr).sum(axis=1) / np.maximum(has_tr.sum(axis=1), 1)
    quality, difficulty = quality - level[:, None], difficulty - level[:, None]
    centre = difficulty[has_ep].mean()
    return Facets(
        ability - centre,
        mode.clustered(),
        mode.model_variance(),
        [_named(one.eps, values - centre, has) for one, values, has in zip(counts, difficulty, has_ep, strict=True)],
        [_named(one.trs, values, has) for one, values, has in zip(counts, quality, has_tr, strict=True)],
        float(np.sqrt(spreads[1])),
        float(np.sqrt(spreads[0])),
    )


def _named(names: Sequence[str], values: "Array", has: "Array") -> dict[str, float]:
    return {name: float(value) for name, value, known in zip(names, values, has, strict=False) if known}


class _Newton:
    """One step towards the mode, with all TPs in arrays: TPs x students x TRs x EPs."""

    def __init__(
        self, asked: "Array", right: "Array", ability: "Array", quality: "Array", difficulty: "Array", spreads: "Array"
    ) -> None:
        import numpy as np
        from scipy.special import expit

        chance = expit(ability[None, :, None, None] + quality[:, None, :, None] - difficulty[:, None, None, :])
        residual, weight = right - asked * chance, asked * chance * (1 - chance)
        precise_tr, precise_ep = 1 / spreads
        # Slopes and Hessian of the log posterior; of the Hessian the negative. Difficulty enters with a minus.
        slope_tr = residual.sum(axis=(1, 3)) - quality * precise_tr
        slope_ep = -residual.sum(axis=(1, 2)) - difficulty * precise_ep
        self._slopes = residual.sum(axis=(2, 3))  # TPs x students: without the prior
        self._prior = 1 / ABILITY_SD**2
        tr = weight.sum(axis=(1, 3)) + precise_tr  # TPs x TRs, a diagonal
        ep_by_student, tr_by_student = -weight.sum(axis=2), weight.sum(axis=3)
        tr_by_ep = -weight.sum(axis=1)
        scaled = tr_by_ep / tr[:, :, None]
        # TRs are eliminated first: what remains of a TP is EPs x EPs.
        ep = -np.einsum("tre,trf->tef", tr_by_ep, scaled)
        each = np.arange(ep.shape[1])
        ep[:, each, each] += weight.sum(axis=(1, 2)) + precise_ep
        inverse = np.linalg.inv(ep)

        # The nuisances of each TP for right sides: the slopes, and the columns of the students.
        sides_tr = np.concatenate([slope_tr[:, :, None], tr_by_student.swapaxes(1, 2)], axis=2)
        sides_ep = np.concatenate([slope_ep[:, :, None], ep_by_student.swapaxes(1, 2)], axis=2)
        solved_ep = inverse @ (sides_ep - np.einsum("tre,trs->tes", scaled, sides_tr))
        solved_tr = sides_tr / tr[:, :, None] - scaled @ solved_ep
        removed = tr_by_student @ solved_tr + ep_by_student @ solved_ep  # TPs x students x (1 + students)
        self._bread = np.diag(weight.sum(axis=(0, 2, 3)) + self._prior) - removed[:, :, 1:].sum(axis=0)
        slope = (self._slopes - removed[:, :, 0]).sum(axis=0) - ability * self._prior
        self.ability = np.linalg.solve(self._bread, slope)
        self.quality = solved_tr[:, :, 0] - solved_tr[:, :, 1:] @ self.ability
        self.difficulty = solved_ep[:, :, 0] - solved_ep[:, :, 1:] @ self.ability
        self.difficulty_variance = inverse[:, each, each]
        self.quality_variance = 1 / tr + np.einsum("tre,tef,trf->tr", scaled, inverse, scaled)

    def clustered(self) -> "Array":
        """The covariance of the abilities at the mode, by the slopes of the TPs (White, 1980, by clusters)."""
        import numpy as np

        n = len(self._slopes)
        if n < 2:
            return np.full(self._bread.shape, np.nan)
        centred = self._slopes - self._slopes.mean(axis=0)
        inverse = np.linalg.inv(self._bread)
        found: Array = n / (n - 1) * inverse @ (centred.T @ centred) @ inverse
        return found

    def model_variance(self) -> "Array":
        """The variances of the abilities by the Hessian."""
        import numpy as np

        return np.diagonal(np.linalg.inv(self._bread))
