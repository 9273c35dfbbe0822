"""Level 3 (M3): sets of exemplars, improved from the students' mistakes."""
