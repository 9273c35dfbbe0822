"""Games of two players who both play as well as possible."""

import random

from tests.code_families import CodeProblem, lists

draw = random.Random("game theory")


def slow_one_each(a: int, b: int) -> bool:
    taken = 0
    while a + b > 0:
        a, b = (a - 1, b) if a else (a, b - 1)
        taken += 1
    return taken % 2 == 1


def slow_matches(n: int) -> bool:
    return any(not slow_matches(n - take) for take in (1, 2) if take <= n)


def slow_largest(coins: list[int]) -> int:
    left, players = list(coins), [0, 0]
    for turn in range(len(coins)):
        players[turn % 2] += max(left)
        left.remove(max(left))
    return players[0]


def slow_pile(n: int, moves: list[int]) -> bool:
    return any(not slow_pile(n - move, moves) for move in moves if move <= n)


def slow_row(coins: list[int]) -> int:
    if not coins:
        return 0
    # The first player takes one, and then gets what the other one leaves.
    left, right = coins[1:], coins[:-1]
    return max(coins[0] + sum(left) - slow_row(left), coins[-1] + sum(right) - slow_row(right))


def slow_piles(a: int, b: int) -> bool:
    moves = [(a - take, b) for take in range(1, a + 1)] + [(a, b - take) for take in range(1, b + 1)]
    return any(not slow_piles(*after) for after in moves)


PROBLEMS = [
    CodeProblem(
        "one-each",
        "There are a red and b blue balls. Two players take turns; in a turn a player takes exactly one ball of "
        "any colour. Who takes the last ball wins. Say whether the player who begins wins; with no ball that "
        "player has lost.",
        """def wins_with_balls(a: int, b: int) -> bool:
    return (a + b) % 2 == 1""",
        slow_one_each,
        [[1, 0], [2, 2], [2, 3]],
        [
            [0, 0], [0, 1], [1, 1], [2, 0], [0, 2], [1, 2], [2, 1], [3, 3], [3, 2], [10, 0], [0, 11], [7, 8], [8, 7],
            [9, 9],
            *([draw.randint(0, 30), draw.randint(0, 30)] for _ in range(10)),
        ],
    ),
    CodeProblem(
        "matches",
        "Two players take turns at n matches. In a turn a player takes 1 or 2 matches. Who takes the last match "
        "wins. Both play as well as possible. Say whether the player who begins wins; with no match that player "
        "has lost.",
        """def wins_with_matches(n: int) -> bool:
    return n % 3 != 0""",
        slow_matches,
        [[3], [4], [5]],
        [[n] for n in (0, 1, 2, *range(6, 25))],
    ),
    CodeProblem(
        "largest",
        "Two players take turns at a heap of coins. In a turn a player takes the coin that is worth most of those "
        "that are left. Return the total value of the coins of the player who begins.",
        """def value_of_first(coins: list[int]) -> int:
    return sum(sorted(coins, reverse=True)[::2])""",
        slow_largest,
        [[[5, 1, 3]], [[4, 7]], [[2, 2, 9, 4]]],
        [
            [[]], [[8]], [[3, 3]], [[1, 2, 3, 4, 5]], [[10, 0, 10, 0]], [[0, 0, 0]], [[6, 5, 4, 3, 2, 1]], [[100, 1]],
            *([coins] for coins in lists(draw, 16, 9, 0, 40)),
        ],
    ),
    CodeProblem(
        "pile",
        "Two players take turns at a pile of n stones. In a turn a player takes away as many stones as one of the "
        "numbers in moves says. Who cannot move loses. Both play as well as possible. Say whether the player who "
        "begins wins.",
        """def beginner_wins(n: int, moves: list[int]) -> bool:
    wins = [False] * (n + 1)
    for stones in range(1, n + 1):
        wins[stones] = any(move <= stones and not wins[stones - move] for move in moves)
    return wins[n]""",
        slow_pile,
        [[4, [1, 2]], [3, [1, 2]], [7, [2, 3]]],
        [
            [0, [1, 2]], [1, [1]], [2, [1]], [1, [2]], [10, []], [0, []], [6, [1, 2]], [7, [7]], [14, [7]],
            [8, [1, 3, 4]], [9, [1, 3, 4]],
            *([draw.randint(5, 18), sorted(draw.sample(range(1, 8), 3))] for _ in range(14)),
        ],
    ),
    CodeProblem(
        "row",
        "Coins lie in a row. Two players take turns; in a turn a player takes the first or the last coin of the "
        "row. Both want as much money as possible. Return how much the player who begins gets.",
        """def first_share(coins: list[int]) -> int:
    n = len(coins)
    if n == 0:
        return 0
    lead = list(coins)
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            lead[i] = max(coins[i] - lead[i + 1], coins[i + length - 1] - lead[i])
    return (sum(coins) + lead[0]) // 2""",
        slow_row,
        [[[3, 9, 1]], [[4, 7]], [[2, 8, 3, 5]]],
        [
            [[]], [[6]], [[5, 5]], [[1, 100, 1]], [[0, 0, 0]], [[1, 2, 3, 4, 5]], [[8, 15, 3, 7]],
            [[20, 30, 2, 2, 2, 10]],
            *([coins] for coins in lists(draw, 16, 9, 0, 30)),
        ],
    ),
    CodeProblem(
        "two-piles",
        "There are two piles, of a and of b matches. Two players take turns; in a turn a player takes one or more "
        "matches from one of the piles. Who takes the last match of all wins. Both play as well as possible. Say "
        "whether the player who begins wins; with no match at all the player who begins has lost.",
        """def two_piles(a: int, b: int) -> bool:
    return a != b""",
        slow_piles,
        [[2, 2], [2, 1], [1, 4]],
        [
            [0, 0], [1, 0], [0, 1], [1, 1], [3, 3], [5, 5], [6, 6], [5, 6], [6, 0], [1, 6], [4, 3], [3, 4], [2, 5],
            [4, 4],
            [6, 5], [1, 2], [0, 5], [3, 1], [2, 6], [4, 6],
        ],
    ),
]  # fmt: skip
