"""Real processes, sockets and models."""
