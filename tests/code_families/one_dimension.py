"""Dynamic programming along one dimension."""

import random
from itertools import combinations, pairwise

from tests.code_families import CodeProblem, lists

draw = random.Random("one dimension")


def slow_stairs(n: int) -> int:
    return 1 if n == 0 else sum(slow_stairs(n - step) for step in (1, 2, 3) if step <= n)


def slow_rising(values: list[int]) -> int:
    runs = [values[i:j] for i in range(len(values)) for j in range(i + 1, len(values) + 1)]
    return max((len(run) for run in runs if all(a < b for a, b in pairwise(run))), default=0)


def slow_days(profits: list[int]) -> int:
    return max(sum(profits[i:j]) for i in range(len(profits)) for j in range(i + 1, len(profits) + 1))


def slow_stalls(profits: list[int]) -> int:
    chosen = [some for size in range(len(profits) + 1) for some in combinations(range(len(profits)), size)]
    apart = [some for some in chosen if all(b - a > 2 for a, b in pairwise(some))]
    return max(sum(profits[stall] for stall in some) for some in apart)


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
        "days",
        "profits has what a shop earned on each day; a loss is below 0. Return the largest total of one or more "
        "days in a row. There is at least one day.",
        """def best_days(profits: list[int]) -> int:
    best = ending = profits[0]
    for profit in profits[1:]:
        ending = max(profit, ending + profit)
        best = max(best, ending)
    return best""",
        slow_days,
        [[[2, -1, 3]], [[-4, -2]], [[1, -5, 4, 1]]],
        [
            [[5]], [[-5]], [[0]], [[0, 0]], [[-1, 0, -1]], [[1, 2, 3]], [[-3, -2, -1]], [[8, -20, 9]], [[3, -1, -1, 3]],
            [[-2, 1, -3, 4, -1, 2, 1, -5, 4]],
            *([profits] for profits in lists(draw, 15, 12, -9, 9)),
        ],
    ),
    CodeProblem(
        "stalls",
        "profits[i] is what stall i of a market street earns. Open stalls must have at least two closed stalls "
        "between them. Return the largest total profit. No stall has to be open.",
        """def best_stalls(profits: list[int]) -> int:
    best = [0] * (len(profits) + 3)
    for i in range(len(profits) - 1, -1, -1):
        best[i] = max(best[i + 1], profits[i] + best[i + 3])
    return best[0]""",
        slow_stalls,
        [[[5, 1, 1, 6]], [[2, 9, 3]], [[4, 4, 4]]],
        [
            [[]], [[7]], [[0]], [[1, 2]], [[3, 2, 1]], [[1, 1, 1, 1]], [[10, 0, 0, 10, 0, 0, 10]], [[1, 9, 1, 1, 9, 1]],
            [[5, 6, 7, 8, 9]],
            *([profits] for profits in lists(draw, 15, 11, 0, 20)),
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
