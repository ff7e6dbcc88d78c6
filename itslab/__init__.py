"""Inference-time scaling with real quantized models: sample, verify, and count the cost.

    import itslab as its

    llm = its.load("qwen2.5-coder-0.5b")
    result = its.solve("What is 17 * 23?", its.SelfConsistency(n=8), llm)
    result.answer, result.cost

Names are imported when they are first used, so that importing the package costs nothing; they stand
in ``__init__.pyi``. Where IPython is running, it is told how our objects are displayed.
"""

import sys

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

if "IPython" in sys.modules:
    from itslab import ipython

    ipython.register()
