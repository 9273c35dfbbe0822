"""The families of reasoning-gym and the templates of gsm_symbolic that a class can use, and the reasons against others.

FAMILIES has the families whose answers were checked by our own rules (tests/scenarios/tasks/test_families.py): the gold
answer is right, it is the only right one, and it is a number or a word that can be compared exactly. The scorers of
the library are not used. scenarios/tasks/sources/gym.py draws the problems.
"""

from typing import Any

import msgspec

from broker.work_messages import AnswerForm

GSM = "gsm_symbolic"
TEMPLATES = 100
"""Of gsm_symbolic."""


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """A family whose answers were checked, with sizes that suit small models."""

    module: str
    """The module of the library that defines it, below reasoning_gym."""
    form: AnswerForm
    tokens: int
    """Estimated tokens of a typical problem, at 4 characters per token."""
    note: str
    settings: dict[str, Any] = {}
    """Settings for the library's data set."""
    without: tuple[str, ...] = ()
    """Sentences removed from the problem: they ask for the answer alone, and the class asks for a solution."""
    unsound: frozenset[str] = frozenset()
    """Answers that the library gets wrong; such problems are drawn again."""


FAMILIES: dict[str, Family] = {
    GSM: Family(
        module="arithmetic.gsm_symbolic.gsm_symbolic", form="number", tokens=57,
        note="grade-school word problems; EPs are other draws of the TP's template",
    ),
    "chain_sum": Family(
        module="arithmetic.chain_sum",
        form="number", tokens=18, note="sums and differences of 2 to 4 numbers of at most two digits",
        settings={"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 2},
    ),
    "decimal_chain_sum": Family(
        module="arithmetic.decimal_chain_sum", form="number", tokens=19, note="the same with one or two decimal places",
        settings={"min_terms": 2, "max_terms": 3, "max_digits": 2, "max_decimal_places": 2},
    ),
    "products": Family(
        module="arithmetic.products", form="number", tokens=11, note="a product of two numbers of at most two digits",
        settings={"max_digits": 2}, without=(" Give only the result as your final answer.",),
    ),
    "basic_arithmetic": Family(
        module="arithmetic.basic_arithmetic",
        form="number", tokens=7, note="plus, minus, times and brackets over 2 or 3 one-digit numbers of either sign",
        # Without brackets the library works from left to right, whatever comes first: 10 + 1 * 0 gives 0.
        settings={"max_terms": 3, "max_digits": 1, "operators": ["+", "-", "*"], "allow_parentheses": True},
    ),
    "gcd": Family(
        module="arithmetic.gcd", form="number", tokens=16, note="greatest common divisor of two numbers up to 60",
        settings={"min_value": 2, "max_value": 60}, without=(" Give only the GCD as your final answer.",),
    ),
    "lcm": Family(
        module="arithmetic.lcm", form="number", tokens=15, note="least common multiple of two numbers up to 30",
        settings={"min_value": 2, "max_value": 30},
    ),
    "simple_equations": Family(
        module="algebra.simple_equations", form="number", tokens=11, note="one linear equation in one unknown",
        settings={"max_terms": 3, "max_value": 20},
    ),
    "simple_geometry": Family(
        module="geometry.simple_geometry",
        form="number", tokens=36, note="the last angle of a polygon of 3 to 5 sides", settings={"max_sides": 5},
        without=("Return only the angle as your answer.", "Do not give the units in your answer."),
    ),
    "count_bits": Family(
        module="arithmetic.count_bits",
        form="number", tokens=18, note="ones in the binary form of a number up to 127", settings={"max_n": 127}
    ),
    "count_primes": Family(
        module="algorithmic.count_primes",
        form="number", tokens=17, note="primes between two numbers up to 60", settings={"max_n": 60}
    ),
    "calendar_arithmetic": Family(
        module="arithmetic.calendar_arithmetic",
        form="word", tokens=29, note="the weekday so many days before or after a date",
        settings={"tasks": ["weekday_offset"], "offset_upper_bound": 30},
    ),
    "family_relationships": Family(
        module="graphs.family_relationships", form="word", tokens=42, note="what one relative is to another",
        settings={
            "max_family_size": 6,
            "male_names": ["James", "John", "Robert", "Michael", "William", "David", "Thomas", "Peter", "Henry"],
            "female_names": ["Mary", "Linda", "Susan", "Sarah", "Karen", "Emma", "Anna", "Julia", "Lucy", "Alice"],
        },
        without=(" Respond only with the word that describes their relationship.",),
        unsound=frozenset({"mother-in-law", "father-in-law", "niece", "nephew"}),
    ),
    "needle_haystack": Family(
        module="cognition.needle_haystack", form="word", tokens=54, note="who of four to eight people does what",
        settings={"min_num_statements": 4, "max_num_statements": 8}, without=(" Reply only with a name.",),
    ),
    "spell_backward": Family(
        module="algorithmic.spell_backward", form="word", tokens=13, note="a word of three to five letters, backwards",
        settings={"min_word_len": 3, "max_word_len": 5},
    ),
    "syllogism": Family(
        module="logic.syllogisms",
        form="yes_no", tokens=34, note="whether a statement follows from two others; only All and No",
        settings={"allow_some": False, "allow_some_not": False, "inversion_probability": 0.0, "invalid_ratio": 0.5},
        without=("\n(Answer Yes or No)",),
    ),
}  # fmt: skip
"""The families a class can be given, by their names in reasoning-gym."""

REFUSED = {
    "aiw": "asks after people the text does not introduce",
    "bitwise_arithmetic": "answers are hexadecimal",
    "coin_flip": "does not say how far to round; its scorer gives full marks to wrong numbers",
    "decimal_arithmetic": "rounds to 12 digits",
    "fraction_simplification": "an unsimplified fraction has the same value and would count as right",
    "leg_counting": "counts legs of starfish, crabs and woodlice by a table that can be argued with",
    "letter_counting": "counts capitals as small letters without saying so",
    "number_sequence": "several rules fit most of its sequences",
    "power_function": "says three significant figures and gives all of them",
    "time_intervals": "answers are times in several formats",
    "word_sorting": "answers are lists",
}
"""Families that were checked and cannot be used, with the reason."""

UNCHECKED = """
    ab acre advanced_geometry arc_1d arc_agi base_conversion bf binary_alternation binary_matrix boxnet
    caesar_cipher circuit_logic codeio color_cube_rotation complex_arithmetic composite countdown course_schedule
    cryptarithm dice emoji_mystery figlet_font futoshiki game_of_life game_of_life_halting graph_color
    group_anagrams intermediate_integration isomorphic_strings jugs kakurasu knight_swap knights_knaves
    largest_island letter_jumble list_functions mahjong_puzzle manipulate_matrix maze mini_sudoku modulo_grid
    n_queens number_filtering number_format number_sorting palindrome_generation palindrome_partitioning path_star
    polynomial_equations polynomial_multiplication pool_matrix prime_factorization propositional_logic puzzle24
    quantum_lock ransom_note rearc rectangle_count rotate_matrix rotten_oranges rubiks_cube rush_hour
    self_reference sentence_reordering shortest_path simple_integration sokoban spiral_matrix string_insertion
    string_manipulation string_splitting string_synthesis sudoku survo tower_of_hanoi tsumego word_ladder
    word_sequence_reversal zebra_puzzles
"""
"""Families that were not checked yet, separated by white space."""

DEFECTIVE: dict[int, str] = {
    2: "cuts a fractional number of students",
    3: "cuts fractional hours",
    4: "cuts a fractional number of pans",
    14: "says `3 the amount of time`, without `times`",
    24: "ages below zero",
    27: "amounts that are not whole",
    32: "shares as long decimal fractions",
    35: "cuts a fractional percentage; crashes on some draws",
    37: "cuts the share before it multiplies",
    40: "binary rounding makes some answers wrong",
    46: "shares as long decimal fractions",
    49: "cuts a fractional number of bags",
    51: "says `ride the bumper cars 2`, without `times`",
    52: "says `writes it in full 3`, without `times`",
    53: "`more likely as a percentage` can be read in two ways",
    60: "cuts fractional minutes",
    61: "an offer that can be read in two ways; cuts fractional money",
    63: "takes October to have four weeks",
    65: "weighs three fish and means more",
    66: "hours as long decimal fractions",
    74: "cuts a fractional percentage",
    75: "half of an odd number",
    76: "cuts a fractional number of people",
    77: "cuts a fractional number of people",
    79: "the text and the solution differ on which hour costs what",
    86: "cuts the number of trips where it must be rounded up",
    87: "cuts half millilitres",
    90: "cuts fractional money",
    92: "rounds x.50 down at times; speaks of dollars whatever the currency",
    93: "says `slew 2 as many`, without `times`",
    97: "cuts fractional miles",
    98: "cuts a fractional force",
    99: "binary rounding makes some answers wrong",
}
"""Templates of gsm_symbolic that are not used. Exact recalculation of many draws found these defects."""

FROM_DIFFICULTY: dict[int, float] = {
    1: 1.0, 5: 0.75, 7: 0.75, 16: 0.75, 21: 0.75, 22: 0.75, 28: 1.0, 29: 0.75, 31: 0.75, 56: 0.75, 70: 0.75,
    71: 1.0, 73: 0.75, 81: 0.75,
}  # fmt: skip
"""The least difficulty at which a template finds fitting numbers; default 0.5."""
UP_TO_DIFFICULTY: dict[int, float] = {36: 1.0}
"""The greatest difficulty at which a template makes sense; default 2."""
