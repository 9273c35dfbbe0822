"""Short worked examples that precede every question, for teacher and students alike.

They show the expected style: a few lines, one calculation per line, the answer in the last one. None of them is a
problem that a family can draw. The agents format them for the prompt.
"""

from broker.work_messages import Exemplar
from scenarios.tasks.programs import Case, block, statement
from scenarios.tasks.sources.families import FAMILIES

WORKED: dict[str, tuple[Exemplar, ...]] = {
    "number": (
        Exemplar(
            "A library lends 14 books on each of 5 days and gets 23 of them back. How many are still out?",
            "14 * 5 = 70 books lent\n70 - 23 = 47 books still out\nAnswer: 47",
        ),
        Exemplar(
            "Ribbon costs 3 coins a metre. Ines has 50 coins, buys 12 metres and gives a quarter of the rest to Tom. "
            "How many coins does Tom get?",
            "12 * 3 = 36 coins for ribbon\n50 - 36 = 14 coins left\n14 / 4 = 3.5 coins for Tom\nAnswer: 3.5",
        ),
        Exemplar(
            "A tank holds 240 litres and is 35% full. How many litres are missing?",
            "240 * 35 / 100 = 84 litres inside\n240 - 84 = 156 litres missing\nAnswer: 156",
        ),
        Exemplar(
            "A train passes 18 stations. At every third one 4 people get on. How many get on?",
            "18 / 3 = 6 stations\n6 * 4 = 24 people\nAnswer: 24",
        ),
    ),
    "arithmetic": (
        Exemplar("What is 300 - 125 + 48?", "300 - 125 = 175\n175 + 48 = 223\nAnswer: 223"),
        Exemplar("What is 120 * 7 - 90?", "120 * 7 = 840\n840 - 90 = 750\nAnswer: 750"),
        Exemplar("What is 144 / 12 + 100 * 3?", "144 / 12 = 12\n100 * 3 = 300\n12 + 300 = 312\nAnswer: 312"),
        Exemplar("What is (215 - 115) * 36?", "215 - 115 = 100\n100 * 36 = 3600\nAnswer: 3600"),
    ),
    "latex": (
        Exemplar(
            "What is $\\frac{3}{8}$ of the sum of $12$ and $20$, divided by $5$?",
            "$12 + 20 = 32$\n$\\frac{3}{8} \\cdot 32 = 12$\nDivided by $5$: $\\frac{12}{5}$\nAnswer: $\\frac{12}{5}$",
        ),
        Exemplar(
            "Expand $(x-4)(x+9)$.",
            "$x \\cdot x = x^2$\n$9x - 4x = 5x$\n$-4 \\cdot 9 = -36$\nAnswer: $x^2 + 5x - 36$",
        ),
        Exemplar(
            "A right triangle has legs $2$ and $6$. How long is its hypotenuse?",
            "$2^2 + 6^2 = 40$\n$\\sqrt{40} = 2\\sqrt{10}$\nAnswer: $2\\sqrt{10}$",
        ),
        Exemplar(
            "For which $t$ is $7t + 5 = 3t - 19$?",
            "$7t - 3t = -19 - 5$\n$4t = -24$\n$t = -6$\nAnswer: $-6$",
        ),
    ),
    "word": (
        Exemplar(
            "Ulla is taller than Viktor. Viktor is taller than Wanda. Who is the shortest?",
            "Ulla is above Viktor.\nViktor is above Wanda.\nNobody is below Wanda.\nAnswer: Wanda",
        ),
        Exemplar(
            "Which month comes five months after October?",
            "Three months after October is January.\nTwo more months is March.\nAnswer: March",
        ),
        Exemplar(
            "Rosa is the daughter of Hugo. Hugo is the brother of Greta. What is Greta to Rosa?",
            "Hugo is Rosa's father.\nGreta is her father's sister.\nAnswer: aunt",
        ),
        Exemplar(
            "Write the letters of the word planet in the order of the alphabet.",
            "The letters are p, l, a, n, e, t.\nIn order: a, e, l, n, p, t.\nAnswer: aelnpt",
        ),
    ),
    "yes_no": (
        Exemplar(
            "Every oak is a tree. Every tree is a plant. Is every oak a plant?",
            "Oaks are among the trees.\nTrees are among the plants.\nSo oaks are among the plants.\nAnswer: Yes",
        ),
        Exemplar(
            "Every square is a rectangle. Is every rectangle a square?",
            "A rectangle of sides 2 and 3 is no square.\nAnswer: No",
        ),
        Exemplar(
            "Is 91 a prime number?",
            "7 * 13 = 91\nSo it has other divisors.\nAnswer: No",
        ),
        Exemplar(
            "No stone is alive. Granite is a stone. Can granite be alive?",
            "Granite is among the stones.\nNo stone is alive, so granite is not.\nAnswer: No",
        ),
    ),
    "code": (
        Exemplar(
            statement(
                "A shop counts its sales of each day. A day is good if it sold more than the day before. Count the "
                "good days; the first day is never good.",
                "def good_days(sales: list[int]) -> int",
                "good_days",
                (Case([[3, 5, 5, 8]], 2), Case([[]], 0)),
            ),
            block(
                "Look at each pair of neighbouring days.\nCount the pairs whose second number is larger.",
                "def good_days(sales: list[int]) -> int:\n    return sum(1 for a, b in zip(sales, sales[1:]) if b > a)",
            ),
        ),
        Exemplar(
            statement(
                "A frog sits on stone 0 and wants to reach stone n. It jumps 1 or 3 stones forward. In how many ways "
                "can it reach stone n exactly?",
                "def ways_to_jump(n: int) -> int",
                "ways_to_jump",
                (Case([3], 2), Case([4], 3)),
            ),
            block(
                "ways[i] is the number of ways to reach stone i.\n"
                "The last jump came from i - 1 or from i - 3, so add these two; ways[0] is 1.",
                "def ways_to_jump(n: int) -> int:\n"
                "    ways = [1] + [0] * n\n"
                "    for i in range(1, n + 1):\n"
                "        ways[i] = ways[i - 1] + (ways[i - 3] if i >= 3 else 0)\n"
                "    return ways[n]",
            ),
        ),
        Exemplar(
            statement(
                "Say how many letters two words have in common, where each letter counts once, in small letters.",
                "def common_letters(first: str, second: str) -> int",
                "common_letters",
                (Case(["Paper", "apple"], 3), Case(["sun", "moon"], 1)),
            ),
            block(
                "Make a set of the small letters of each word.\nThe answer is the size of what both sets hold.",
                "def common_letters(first: str, second: str) -> int:\n"
                "    return len(set(first.lower()) & set(second.lower()))",
            ),
        ),
        Exemplar(
            statement(
                "Of some coins choose any, each at most once. Say whether their values can add up to exactly total.",
                "def can_pay(coins: list[int], total: int) -> bool",
                "can_pay",
                (Case([[2, 3, 7], 9], True), Case([[2, 3, 7], 4], False)),
            ),
            block(
                "Keep the set of all sums that the coins so far can make, at first only 0.\n"
                "Each coin adds every known sum plus its value.\nAt the end look whether total is in the set.",
                "def can_pay(coins: list[int], total: int) -> bool:\n"
                "    sums = {0}\n"
                "    for coin in coins:\n"
                "        sums |= {known + coin for known in sums}\n"
                "    return total in sums",
            ),
        ),
    ),
}
"""By answer form, and `arithmetic` for bare calculations."""

ARITHMETIC = ("chain_sum", "decimal_chain_sum", "products", "basic_arithmetic")


def demonstrations(name: str, count: int) -> tuple[Exemplar, ...]:
    """The first `count` worked examples, at most four, for a family or an answer form."""
    if name in ARITHMETIC:
        name = "arithmetic"
    elif name in FAMILIES:
        name = FAMILIES[name].form
    return WORKED[name][:count]
