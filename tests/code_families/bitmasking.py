"""Choices among a few things, whose sets fit the bits of a whole number."""

import random
from itertools import combinations, permutations, product

from tests.code_families import CodeProblem, lists

draw = random.Random("bitmasking")


def slow_rights(users: list[int], wanted: int) -> int:
    def bits(number: int) -> set[int]:
        return {place for place in range(20) if number // 2**place % 2 == 1}

    return sum(bits(wanted) <= bits(user) for user in users)


def slow_lamps(n: int, presses: list[int]) -> int:
    lamps = [False] * n
    for press in presses:
        for lamp in range(n):
            if press // 2**lamp % 2 == 1:
                lamps[lamp] = not lamps[lamp]
    return lamps.count(True)


def slow_subsets(numbers: list[int], total: int) -> int:
    return sum(sum(some) == total for size in range(len(numbers) + 1) for some in combinations(numbers, size))


def slow_split(weights: list[int]) -> int:
    signs = product((1, -1), repeat=len(weights))
    return min(abs(sum(sign * weight for sign, weight in zip(of, weights, strict=True))) for of in signs)


def slow_guests(n: int, quarrels: list[list[int]]) -> int:
    groups = [set(some) for size in range(n + 1) for some in combinations(range(n), size)]
    return max(len(group) for group in groups if not any(a in group and b in group for a, b in quarrels))


def slow_jobs(cost: list[list[int]]) -> int:
    n = len(cost)
    return min(sum(cost[person][job] for person, job in enumerate(order)) for order in permutations(range(n)))


def _quarrels() -> list[object]:
    n = draw.randint(3, 8)
    return [n, [sorted(draw.sample(range(n), 2)) for _ in range(draw.randint(1, 9))]]


def _square() -> list[list[int]]:
    n = draw.randint(2, 6)
    return [[draw.randint(1, 20) for _ in range(n)] for _ in range(n)]


PROBLEMS = [
    CodeProblem(
        "rights",
        "The rights of a user are the bits of a number that are 1. users has the number of each user. Count the "
        "users who have all the rights in wanted.",
        """def count_allowed(users: list[int], wanted: int) -> int:
    return sum(1 for user in users if user & wanted == wanted)""",
        slow_rights,
        [[[7, 5, 2], 5], [[1, 2, 3], 2], [[4, 6], 3]],
        [
            [[], 1], [[0], 0], [[0], 1], [[5, 5], 5], [[1, 2, 4, 8], 0], [[255, 127, 64], 192], [[8, 9, 10, 11], 8],
            [[3], 4], [[1023], 1023],
            *([users, draw.randint(0, 15)] for users in lists(draw, 15, 8, 0, 31)),
        ],
    ),
    CodeProblem(
        "lamps",
        "n lamps are off. Each number in presses switches those lamps whose bits in it are 1: lamp 0 has the bit "
        "of value 1, lamp 1 that of value 2, and so on. To switch a lamp turns it on if it is off, and off if it "
        "is on. Return how many lamps are on in the end. Every number in presses is below 2 to the power of n.",
        """def lamps_on(n: int, presses: list[int]) -> int:
    state = 0
    for press in presses:
        state ^= press
    return bin(state).count('1')""",
        slow_lamps,
        [[3, [1, 3]], [2, [3]], [4, [5, 5, 9]]],
        [
            [0, []], [1, []], [1, [1]], [1, [1, 1]], [1, [0]], [3, [7, 2]], [3, [1, 2, 4]], [4, [15, 15, 15]],
            [8, [255, 1]],
            [5, [16, 8, 16]],
            *([4, presses] for presses in lists(draw, 15, 7, 0, 15)),
        ],
    ),
    CodeProblem(
        "subsets",
        "Count the ways to choose some of the numbers, each at most once, so that they add up to total. Choosing "
        "none adds up to 0. Equal numbers in different places are different choices. There are at most 12 "
        "numbers.",
        """def count_choices(numbers: list[int], total: int) -> int:
    n, found = len(numbers), 0
    for mask in range(1 << n):
        if sum(numbers[i] for i in range(n) if mask >> i & 1) == total:
            found += 1
    return found""",
        slow_subsets,
        [[[1, 2, 3], 3], [[5, 5], 5], [[4, 6], 3]],
        [
            [[], 0], [[], 1], [[7], 7], [[7], 0], [[0], 0], [[0, 0], 0], [[-1, 1], 0], [[1, 1, 1, 1], 2],
            [[2, 4, 6], 12],
            [[2, 4, 6], 13],
            *([numbers, draw.randint(0, 20)] for numbers in lists(draw, 14, 10, -3, 9)),
        ],
    ),
    CodeProblem(
        "split",
        "Boxes are put onto two carts, every box onto one of them. Return the smallest possible difference "
        "between the total weights of the two carts. A cart may stay empty. There are at most 12 boxes.",
        """def smallest_difference(weights: list[int]) -> int:
    n, whole = len(weights), sum(weights)
    best = whole
    for mask in range(1 << n):
        one = sum(weights[i] for i in range(n) if mask >> i & 1)
        best = min(best, abs(whole - 2 * one))
    return best""",
        slow_split,
        [[[3, 1, 2]], [[4, 9]], [[5, 5, 5]]],
        [
            [[]], [[8]], [[1, 1]], [[1, 1, 1]], [[10, 1, 1]], [[2, 2, 2, 2]], [[100, 99, 98]], [[1, 2, 3, 4, 5, 6]],
            *([weights] for weights in lists(draw, 16, 10, 1, 40)),
        ],
    ),
    CodeProblem(
        "guests",
        "n guests, numbered from 0, may be invited. Each entry of quarrels is a pair of guests who cannot both "
        "come. Return the largest number of guests who can be invited together. n is at most 10.",
        """def most_guests(n: int, quarrels: list[list[int]]) -> int:
    best = 0
    for mask in range(1 << n):
        if all(not (mask >> a & 1 and mask >> b & 1) for a, b in quarrels):
            best = max(best, bin(mask).count('1'))
    return best""",
        slow_guests,
        [[3, [[0, 1]]], [3, [[0, 1], [1, 2], [0, 2]]], [4, [[0, 1], [2, 3]]]],
        [
            [0, []], [1, []], [5, []], [2, [[0, 1]]], [2, [[0, 1], [1, 0]]], [4, [[0, 1], [0, 2], [0, 3]]],
            [5, [[0, 1], [1, 2], [2, 3], [3, 4], [4, 0]]], [6, [[0, 1], [2, 3], [4, 5]]],
            *(_quarrels() for _ in range(16)),
        ],
    ),
    CodeProblem(
        "jobs",
        "cost[i][j] says what person i asks for doing job j. There are as many jobs as people, and each person "
        "does exactly one job. Return the smallest possible total cost. There are at most 7 people.",
        """def cheapest_jobs(cost: list[list[int]]) -> int:
    n = len(cost)
    best = [float('inf')] * (1 << n)
    best[0] = 0
    for mask in range(1 << n):
        person = bin(mask).count('1')
        if person == n:
            continue
        for job in range(n):
            if not mask >> job & 1:
                after = mask | 1 << job
                best[after] = min(best[after], best[mask] + cost[person][job])
    return best[(1 << n) - 1]""",
        slow_jobs,
        [[[[1, 5], [5, 1]]], [[[1, 2], [1, 5]]], [[[4]]]],
        [
            [[]], [[[0]]], [[[0, 0], [0, 0]]], [[[9, 9], [9, 9]]], [[[1, 2, 3], [2, 4, 6], [3, 6, 9]]],
            [[[5, 1, 9], [1, 5, 9], [9, 9, 1]]], [[[10, 1], [1, 1]]],
            *([_square()] for _ in range(16)),
        ],
    ),
]  # fmt: skip
