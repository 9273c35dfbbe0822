"""Level 3 for problems with rationales: the teacher rewrites a rationale from the exams."""
