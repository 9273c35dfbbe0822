"""The teacher and student processes: prompts, engines, training, models, and where each process runs."""
