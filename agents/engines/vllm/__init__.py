"""The engine on vLLM. Nothing of vLLM is imported before an agent's engine starts."""
