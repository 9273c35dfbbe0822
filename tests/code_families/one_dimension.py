"""Dynamic programming along one dimension."""

import random
from itertools import pairwise

from tests.code_families import CodeProblem, lists

draw = random.Random("one dimension")


def slow_stairs(n: int) -> int:
    return 1 if n == 0 else sum(slow_stairs(n - step) for step in (1, 2, 3) if step <= n)


def slow_boards(n: int) -> int:
    return 1 if n == 0 else sum(slow_boards(n - board) for board in (1, 2) if board <= n)


def slow_payments(coins: list[int], total: int) -> int:
    return 1 if total == 0 else sum(slow_payments(coins, total - coin) for coin in coins if coin <= total)


def slow_rising(values: list[int]) -> int:
    runs = [values[i:j] for i in range(len(values)) for j in range(i + 1, len(values) + 1)]
    return max((len(run) for run in runs if all(a < b for a, b in pairwise(run))), default=0)


def slow_fence(n: int) -> int:
    def fences(left: int, boards: list[int]) -> int:
        if left == 0:
            return int(all(a == 1 or b == 1 for a, b in pairwise(boards)))
        return sum(fences(left - board, [*boards, board]) for board in (1, 2) if board <= left)

    return fences(n, [])


def slow_stamps(stamps: list[int], total: int) -> int:
    sums, letters = {0}, 0
    while total not in sums:
        after = {known + stamp for known in sums for stamp in stamps if known + stamp <= total}
        if after <= sums:
            return -1
        sums |= after
        letters += 1
    return letters


PROBLEMS = [
    CodeProblem(
        "boards",
        "A row of length n is laid out with boards of length 1 and boards of length 2. In how many ways can that "
        "be done? There is one way for a row of length 0.",
        """def ways_to_lay(n: int) -> int:
    ways = [1] + [0] * n
    for i in range(1, n + 1):
        ways[i] = ways[i - 1] + (ways[i - 2] if i >= 2 else 0)
    return ways[n]""",
        slow_boards,
        [[2], [4], [5]],
        [[n] for n in (0, 1, 3, *range(6, 23))],
    ),
    CodeProblem(
        "payments",
        "A machine takes coins one after the other, of the values in coins, each as often as you like. In how "
        "many orders can coins be put in that are worth exactly total? There is one way to pay 0. The values "
        "differ.",
        """def ways_to_pay(coins: list[int], total: int) -> int:
    ways = [1] + [0] * total
    for i in range(1, total + 1):
        ways[i] = sum(ways[i - coin] for coin in coins if coin <= i)
    return ways[total]""",
        slow_payments,
        [[[1, 2], 3], [[2, 5], 7], [[3], 4]],
        [
            [[], 0], [[], 3], [[1], 0], [[1], 9], [[2], 9], [[5], 5], [[7], 5], [[1, 2, 5], 5], [[2, 4], 7],
            [[4, 6], 20],
            *([sorted(draw.sample(range(1, 9), 3)), draw.randint(4, 15)] for _ in range(14)),
        ],
    ),
    CodeProblem(
        "stairs",
        "A child climbs n steps and takes 1, 2 or 3 of them at a time. In how many ways can it climb exactly n "
        "steps? There is one way to climb 0 steps.",
        """def ways_to_climb(n: int) -> int:
    ways = [1] + [0] * n
    for i in range(1, n + 1):
        ways[i] = sum(ways[i - step] for step in (1, 2, 3) if step <= i)
    return ways[n]""",
        slow_stairs,
        [[3], [4], [5]],
        [[n] for n in (0, 1, 2, *range(6, 23))],
    ),
    CodeProblem(
        "rising",
        "Return the number of days of the longest time in which the price rose every day. A time is a part of the "
        "list without gaps; its first day counts, too. The empty list has 0 days.",
        """def longest_rise(prices: list[int]) -> int:
    best = run = 0
    last = None
    for price in prices:
        run = run + 1 if last is not None and price > last else 1
        best, last = max(best, run), price
    return best""",
        slow_rising,
        [[[1, 2, 2, 3, 4]], [[5, 4]], [[3, 1, 4, 6, 5]]],
        [
            [[]], [[7]], [[2, 2, 2]], [[1, 2, 3, 4, 5]], [[5, 4, 3, 2, 1]], [[1, 3, 2, 4, 3, 5]], [[-2, -1, 0]],
            [[0, 0, 1]],
            [[1, 2, 1, 2, 3]],
            *([prices] for prices in lists(draw, 15, 12, -5, 9)),
        ],
    ),
    CodeProblem(
        "fence",
        "A fence of length n is built in a row from boards of length 1 and boards of length 2. Two boards of "
        "length 2 may not be next to each other. Count the different fences; there is one fence of length 0.",
        """def count_fences(n: int) -> int:
    short, long = [0] * (n + 1), [0] * (n + 1)
    short[0] = 1
    for i in range(1, n + 1):
        short[i] = short[i - 1] + long[i - 1]
        if i >= 2:
            long[i] = short[i - 2]
    return short[n] + long[n]""",
        slow_fence,
        [[2], [3], [4]],
        [[n] for n in (0, 1, *range(5, 23))],
    ),
    CodeProblem(
        "stamps",
        "A letter costs total. stamps are the values of the stamps that can be bought, each as often as you like. "
        "Return the fewest stamps that are worth exactly total; -1 if that is not possible.",
        """def fewest_stamps(stamps: list[int], total: int) -> int:
    far = total + 1
    best = [0] + [far] * total
    for value in range(1, total + 1):
        for stamp in stamps:
            if stamp <= value:
                best[value] = min(best[value], best[value - stamp] + 1)
    return best[total] if best[total] < far else -1""",
        slow_stamps,
        [[[1, 5], 7], [[3, 4], 6], [[4], 6]],
        [
            [[], 0], [[], 3], [[5], 0], [[5], 5], [[5], 4], [[2], 9], [[1], 12], [[1, 6, 10], 12], [[1, 7, 10], 14],
            [[3, 5], 7], [[6, 9, 20], 43],
            *([sorted(draw.sample(range(2, 13), 3)), draw.randint(10, 60)] for _ in range(13)),
        ],
    ),
]  # fmt: skip
