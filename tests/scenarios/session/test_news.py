import pytest

from scenarios.levels.base import RoundNews
from scenarios.session.news import line


@pytest.mark.parametrize(
    ("news", "text"),
    [
        (
            RoundNews("class", 0, 1, 0, teacher_f1=0.5, sets=1),
            "start: teacher F1 50.0 % on training items with the best of 1 set",
        ),
        (
            RoundNews("class", 1, 2, 3, teacher_f1=0.6667, sets=4, students={"ada": 0.25, "bob": None}),
            "3 (run 2): teacher F1 66.7 % on training items with the best of 4 sets; students ada 25.0 %, bob -",
        ),
        (
            RoundNews("self", 0, 2, 1, teacher_f1=0.75, held_out=True),
            "1 (run 1, self): teacher F1 75.0 % on held-out items",
        ),
        (RoundNews("search", 0, 1, 2, kept=False), "2 (search): no set was answered often enough to be kept"),
    ],
)
def test_the_news_of_a_round_is_one_line(news: RoundNews, text: str) -> None:
    assert line(news) == text
