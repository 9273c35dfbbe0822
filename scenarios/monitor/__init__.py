"""The live monitor: it reads the gradebook and the broker's gauges, draws, and writes nothing."""
