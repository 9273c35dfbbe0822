"""The engine whose models are behind an OpenAI-compatible server."""
