"""Dynamic programming along one dimension."""

import random
from itertools import combinations, pairwise

from tests.code_families import CodeProblem, lists

draw = random.Random("one dimension")


def slow_stalls(profits: list[int]) -> int:
    chosen = [some for size in range(len(profits) + 1) for some in combinations(range(len(profits)), size)]
    apart = [some for some in chosen if all(b - a > 2 for a, b in pairwise(some))]
    return max(sum(profits[stall] for stall in some) for some in apart)


def slow_tolls(tolls: list[int]) -> int:
    def cheapest(at: int) -> int:
        if at >= len(tolls):
            return 0
        return tolls[at] + min(cheapest(at + step) for step in (1, 2, 3))

    return min(cheapest(start) for start in (0, 1, 2))


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


def slow_staircase(numbers: list[int]) -> int:
    best = 0
    for size in range(len(numbers) + 1):
        for some in combinations(numbers, size):
            if all(b == a + 1 for a, b in pairwise(some)):
                best = size
    return best


def slow_readings(text: str, words: list[str]) -> int:
    if not text:
        return 1
    return sum(slow_readings(text[len(word) :], words) for word in words if text.startswith(word))


PROBLEMS = [
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
        "tolls",
        "A path has steps numbered from 0, and tolls[i] is the price of standing on step i. You begin before step "
        "0 and go 1, 2 or 3 steps forward each time, until you are beyond the last step. Return the smallest "
        "total price.",
        """def cheapest_walk(tolls: list[int]) -> int:
    n = len(tolls)
    cost = [0] * (n + 3)
    for i in range(n - 1, -1, -1):
        cost[i] = tolls[i] + min(cost[i + 1], cost[i + 2], cost[i + 3])
    return min(cost[0], cost[1], cost[2])""",
        slow_tolls,
        [[[5, 1, 4]], [[2]], [[9, 9, 1, 9, 9]]],
        [
            [[]], [[3, 3]], [[1, 1, 1]], [[4, 4, 4, 4]], [[0, 0, 0, 0, 0]], [[7, 1, 7, 7, 1, 7]],
            [[1, 2, 3, 4, 5, 6, 7]],
            [[7, 6, 5, 4, 3, 2, 1]], [[100, 1, 100, 100, 100]],
            *([tolls] for tolls in lists(draw, 15, 13, 0, 15)),
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
    CodeProblem(
        "staircase",
        "From a list of numbers strike out any, so that each number that is left is exactly 1 larger than the one "
        "left before it. Return the largest possible number of numbers left.",
        """def longest_staircase(numbers: list[int]) -> int:
    best = {}
    for number in numbers:
        best[number] = max(best.get(number, 0), best.get(number - 1, 0) + 1)
    return max(best.values(), default=0)""",
        slow_staircase,
        [[[1, 5, 2, 3]], [[4, 4, 4]], [[3, 2, 1]]],
        [
            [[]], [[9]], [[1, 2, 3, 4, 5]], [[2, 4, 6, 8]], [[1, 1, 2, 2, 3]], [[-1, 0, 1]], [[5, 1, 6, 2, 7, 3]],
            [[3, 1, 2, 3, 4, 2, 5]], [[0, 0]],
            *([numbers] for numbers in lists(draw, 15, 11, 0, 7)),
        ],
    ),
    CodeProblem(
        "readings",
        "A text without spaces is read as words of a list, one after the other, each as often as needed. Count "
        "the ways to read the whole text. The words of the list differ. The empty text is read in one way.",
        """def count_readings(text: str, words: list[str]) -> int:
    ways = [1] + [0] * len(text)
    for end in range(1, len(text) + 1):
        for word in words:
            if text[:end].endswith(word):
                ways[end] += ways[end - len(word)]
    return ways[len(text)]""",
        slow_readings,
        [["abab", ["a", "b", "ab"]], ["cat", ["cat", "c"]], ["dog", ["do", "og"]]],
        [
            ["", ["a"]], ["", []], ["a", []], ["a", ["a"]], ["a", ["b"]], ["aa", ["a"]], ["aaaa", ["a", "aa"]],
            ["aaaaaa", ["aa", "aaa"]], ["abcabc", ["abc", "ab", "c"]], ["sunday", ["sun", "day", "sunday"]],
            *(
                ["".join(draw.choice("ab") for _ in range(draw.randint(3, 10))), sorted(draw.sample(WORDS, 4))]
                for WORDS in [["a", "b", "ab", "ba", "aa", "bb", "aba", "bab"]]
                for _ in range(14)
            ),
        ],
    ),
]  # fmt: skip
