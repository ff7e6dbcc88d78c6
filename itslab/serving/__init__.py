"""Reasoning as a service: any strategy behind an OpenAI-compatible endpoint, priced and planned."""
