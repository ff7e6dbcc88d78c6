"""Inference-time scaling with real quantized models: sample, verify, and count the cost.

    import itslab as its

    llm = its.load("qwen2.5-coder-0.5b")
    result = its.solve("What is 17 * 23?", its.SelfConsistency(n=8), llm)
    result.answer, result.cost

``load`` takes a name of the catalogue (``itslab models``), the path of a GGUF file, or
``hf:owner/repo/file.gguf``. ``start`` does as ``solve`` in the background: watch
``handle.run.tree`` grow, ``handle.stop()`` it, wait for ``handle.result()``.

**From a prompt to llama_decode.** ``solve`` makes a ``Run`` and calls the strategy with it. The
strategy opens a turn and asks for continuations; the run's ``Ledger`` says how many, and how long,
the budget affords. Each node becomes a ``Request``: the messages, the model's own turn so far, the
sampling, a seed and an index. ``Llama`` renders the chat template, keeps the token ids of what was
drawn before, and hands one ``ActiveSequence`` per sample to the engine. The engine's thread asks
the ``Scheduler`` whose rows come next, and starts each sequence in a stream where its prefix is
evaluated already. One ``llama_decode`` evaluates the rows of all sequences, a token is drawn from
each whose prompt is evaluated, and finished samples go back to their callers.

**From a sample to the record.** A ``Bank`` that records stands before a model as a backend of its
own. Asked for samples, it looks them up under a digest of model, request and index. What it lacks
it buys in one call, and stores each sample the moment it is finished. When a run ends,
``solve_all(…, archive=bank)`` keeps its events and texts in the same bank, under the ``spec`` of
its strategy, the model, problem, budget and seed. What came of tests of programs stands beside
them. Replayed, the same calls find all three, and need no model.

**From an event to the screen.** ``Tree.apply`` changes a tree by its events: a new node, a finished
sample, a verdict is an event first. ``start`` runs the strategy in a thread of its own and returns
a ``RunHandle``. A view looks at its tree five times a second and encodes new events as rows of
JSON. Only rows that a browser has not seen are sent, with the text of nodes under way. A script
folds the rows into the tree at the time of its slider, and draws it. Saved pages hold the same rows
and the same script, and a recorded run is decoded into a tree and shown in the same way.

What holds everywhere:

- *One ledger.* Tokens prefilled, reused and decoded, seconds and FLOPs of everything, discarded
  branches and verifiers included. A budget is a typed object; its tokens and samples are never
  exceeded, its seconds and FLOPs by one batch at most.
- *A full batch.* One thread for each model drives llama.cpp's low-level interface with continuous
  batching; any number of runs in any number of threads share it. Prompts are evaluated once and
  forked.
- *Nothing leaks.* A strategy sees a prompt and an extractor. The gold answer enters a run only
  through the verifier called ``Oracle``. Programs that a model writes run only in a sandbox, and
  the tests that judge them outside of it.
- *Honest numbers.* Curves average over all subsets of the samples; intervals are over problems, or
  over the templates they are made from, and cover as often as they say
  (``tests/test_coverage.py``).

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
