"""Tests of agents/engines/vllm."""
