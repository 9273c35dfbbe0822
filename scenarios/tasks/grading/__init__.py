"""Whether an answer is right: forms of answers, values, symbolic comparison."""
