"""Level 2 (M2): the teacher is trained on preferences that the exams express."""
