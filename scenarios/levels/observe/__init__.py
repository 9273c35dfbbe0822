"""Level 1 (M1): the teacher's rationales, judged by the exams of its students."""
