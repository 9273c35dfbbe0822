"""The engine for models behind an OpenAI-compatible server."""
