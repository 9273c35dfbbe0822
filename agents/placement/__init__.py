"""Which model, engine and seat each agent gets, and the start of its process."""
