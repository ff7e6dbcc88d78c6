"""Reasoning as a service: tiers, prices, limits, and the capacity that they need.

A request is a run with a tier, a user and a deadline. Who starts when is decided by objects that
take the time as an argument, so that the endpoint and the simulator ask the very same ones.
"""
