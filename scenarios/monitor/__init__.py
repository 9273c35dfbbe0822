"""The live monitor: reads the gradebook and the gauges, draws, and never writes."""
