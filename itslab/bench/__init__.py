"""Benchmarks of this machine: samples per second, and the seconds that methods save on it.

Contenders take turns within each round, and their ratios are taken within rounds, so that a machine
whose speed drifts still gives steady ratios.
"""

from itslab.bench.adaptive import MethodsReport, measure_cascade, measure_stopping
from itslab.bench.classroom import ClassReport, measure_class
from itslab.bench.models import ModelsReport, measure_models
from itslab.bench.search import SearchReport, measure_search
from itslab.bench.serving import ServingReport, measure_serving
from itslab.bench.speed import SpeedReport, measure_speed
from itslab.bench.steps import measure_steps

__all__ = [
    "ClassReport",
    "MethodsReport",
    "ModelsReport",
    "SearchReport",
    "ServingReport",
    "SpeedReport",
    "measure_cascade",
    "measure_class",
    "measure_models",
    "measure_search",
    "measure_serving",
    "measure_speed",
    "measure_steps",
    "measure_stopping",
]
