"""Published figures, which reports print beside those of a class or a study."""

from scenarios.config.section import Section, Share

METHOD = {
    "greedy": "greedy", "sc": "sc", "max": "m1_max", "sum": "m1_sum",
    "original": "original", "correctness": "correctness_dpo", "m2": "m2",
}  # fmt: skip
"""The method of summary.json that each figure is about."""


class PublishedShares(Section, frozen=True, kw_only=True):
    """Published accuracies of level 1, from 0 to 1."""

    greedy: Share | None = None
    """Accuracy from 0 to 1 of the greedy answer, as are all that follow."""
    sc: Share | None = None
    """Self-consistency (SC)."""
    max: Share | None = None
    """M1 by MAX."""
    sum: Share | None = None
    """M1 by SUM."""

    @property
    def given(self) -> dict[str, float]:
        """The figures that are given, by name."""
        return {name: value for name in METHOD if (value := getattr(self, name, None)) is not None}


class PublishedFigures(PublishedShares, frozen=True, kw_only=True):
    """Published results of the same class, which `report` prints beside yours."""

    original: Share | None = None
    """Level 2: the teacher before training, greedy, on held-out problems, as are the next two."""
    correctness: Share | None = None
    """Level 2: the teacher trained on correctness alone."""
    m2: Share | None = None
    """Level 2: the teacher trained on final scores (M2)."""
    source: str = ""
    """Where the figures are from, such as `the paper, table 2`."""

    @property
    def by_method(self) -> dict[str, float]:
        """The figures that are given, by method of summary.json."""
        return {METHOD[name]: value for name, value in self.given.items()}
