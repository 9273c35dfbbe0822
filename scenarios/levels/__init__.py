"""The three levels of learning by teaching, each a state machine; course.py puts those of a scenario in a row."""
