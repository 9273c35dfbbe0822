"""The engines that complete prompts."""
