"""Reasoning as a service: tiers, limits, prices and capacity that follow the compute."""
