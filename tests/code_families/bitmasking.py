"""Choices among a few things, whose sets fit the bits of a whole number."""

import random
from itertools import chain, combinations, permutations, product

from tests.code_families import CodeProblem, lists

draw = random.Random("bitmasking")


def slow_subsets(numbers: list[int], total: int) -> int:
    return sum(sum(some) == total for size in range(len(numbers) + 1) for some in combinations(numbers, size))


def slow_split(weights: list[int]) -> int:
    signs = product((1, -1), repeat=len(weights))
    return min(abs(sum(sign * weight for sign, weight in zip(of, weights, strict=True))) for of in signs)


def slow_lights(n: int, switches: list[list[int]]) -> int:
    for size in range(len(switches) + 1):
        for some in combinations(switches, size):
            pressed = list(chain.from_iterable(some))
            if all(pressed.count(lamp) % 2 == 1 for lamp in range(n)):
                return size
    return -1


def slow_guests(n: int, quarrels: list[list[int]]) -> int:
    groups = [set(some) for size in range(n + 1) for some in combinations(range(n), size)]
    return max(len(group) for group in groups if not any(a in group and b in group for a, b in quarrels))


def slow_shops(wanted: list[str], shops: list[list[str]]) -> int:
    for size in range(len(shops) + 1):
        if any(set(wanted) <= set(chain.from_iterable(some)) for some in combinations(shops, size)):
            return size
    return -1


def slow_jobs(cost: list[list[int]]) -> int:
    n = len(cost)
    return min(sum(cost[person][job] for person, job in enumerate(order)) for order in permutations(range(n)))


def _switches() -> list[object]:
    n = draw.randint(2, 5)
    return [n, [sorted(draw.sample(range(n), draw.randint(1, n))) for _ in range(draw.randint(2, 6))]]


def _quarrels() -> list[object]:
    n = draw.randint(3, 8)
    return [n, [sorted(draw.sample(range(n), 2)) for _ in range(draw.randint(1, 9))]]


def _shops() -> list[object]:
    goods = ["milk", "bread", "rice", "tea", "salt", "soap"][: draw.randint(3, 6)]
    return [goods, [sorted(draw.sample(goods, draw.randint(1, 3))) for _ in range(draw.randint(2, 6))]]


def _square() -> list[list[int]]:
    n = draw.randint(2, 6)
    return [[draw.randint(1, 20) for _ in range(n)] for _ in range(n)]


PROBLEMS = [
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
        "lights",
        "n lamps, numbered from 0, are off. Each switch is a list of lamps; pressing it turns those of them on "
        "that are off, and those off that are on. Return the fewest switches to press, each at most once, so that "
        "all lamps are on; -1 if that is not possible. There are at most 8 switches.",
        """def fewest_switches(n: int, switches: list[list[int]]) -> int:
    best = -1
    for mask in range(1 << len(switches)):
        lamps = 0
        for i, switch in enumerate(switches):
            if mask >> i & 1:
                for lamp in switch:
                    lamps ^= 1 << lamp
        if lamps == (1 << n) - 1:
            pressed = bin(mask).count('1')
            if best < 0 or pressed < best:
                best = pressed
    return best""",
        slow_lights,
        [[2, [[0], [1]]], [2, [[0], [1], [0, 1]]], [2, [[0]]]],
        [
            [0, []], [1, []], [1, [[0]]], [1, [[0], [0]]], [3, [[0, 1], [1, 2]]], [3, [[0, 1, 2], [0], [1], [2]]],
            [4, [[0, 1], [2, 3], [1, 2], [0, 3]]], [3, [[0, 1], [1], [1, 2]]], [0, [[]]],
            *(_switches() for _ in range(15)),
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
        "shops",
        "wanted is a list of things to buy, and each shop is a list of the things that it has. Return the fewest "
        "shops to visit so that everything wanted can be bought; -1 if that is not possible. There are at most 8 "
        "shops.",
        """def fewest_shops(wanted: list[str], shops: list[list[str]]) -> int:
    bit = {thing: 1 << i for i, thing in enumerate(set(wanted))}
    goal = sum(bit.values())
    offers = [sum(bit[thing] for thing in set(shop) if thing in bit) for shop in shops]
    best = -1
    for mask in range(1 << len(shops)):
        have = 0
        for i, offer in enumerate(offers):
            if mask >> i & 1:
                have |= offer
        if have == goal and (best < 0 or bin(mask).count('1') < best):
            best = bin(mask).count('1')
    return best""",
        slow_shops,
        [[["tea", "milk"], [["tea"], ["milk"]]], [["tea"], [["salt"], ["tea", "salt"]]], [["rice"], [["tea"]]]],
        [
            [[], []], [[], [["tea"]]], [["tea"], []], [["tea"], [[]]], [["tea", "tea"], [["tea"]]],
            [["a", "b", "c"], [["a", "b"], ["b", "c"], ["a", "c"]]],
            [["a", "b", "c"], [["a"], ["b"], ["c"], ["a", "b", "c"]]],
            [["a", "b"], [["a", "z"], ["z"]]],
            *(_shops() for _ in range(16)),
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
