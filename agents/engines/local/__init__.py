"""The engine that computes with `transformers`, in this process, and what loads its models."""
