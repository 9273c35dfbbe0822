"""The three levels of learning by teaching, each a state machine; sequence.py runs one after the other."""
