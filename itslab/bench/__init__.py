"""Benchmarks: of drawing (``speed``) and of searching (``search``) on this machine."""
