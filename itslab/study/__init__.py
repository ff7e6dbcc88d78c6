"""Many runs at once, and what may be said of them.

A study is declared once: tasks × models × strategies × budgets × seeds. It draws what its store
lacks and nothing else, goes on wherever it was stopped or killed, keeps what failed for good apart,
and answers with tidy tables (Parquet), curves with intervals, paired differences, fits and a
report. Written down, such as in ``study.yaml``::

    tasks:
      words: {load: gsm_symbolic, n: 50}
    models: [qwen2.5-coder-0.5b, qwen2.5-coder-0.5b@Q4_0]
    strategies:
      chain: ChainOfThought
      chains vote: {use: SelfConsistency, n: [1, 4, 16]}
      programs vote: {use: ProgramAided, interpreter: sandbox, fallback: text, n: [1, 4, 8]}

``itslab study study.yaml`` conducts it here; ``--workers 4`` lets four processes draw, ``--dask
tcp://host:8786`` the workers of a cluster (the extra ``cluster`` on each): each loads a model once
and draws into a store of its own, which is merged without loss. A model that is too large for one
machine is a server, written ``http://host:8000/v1#name``: ``vllm serve NAME --port 8000``, or
``python -m sglang.launch_server --model-path NAME --port 8000``. In Python::

    checked = tuple(its.BestOfN(its.OwnVerifier(), n, sampling=short) for n in (1, 2))
    study = its.Study({"puzzles": puzzles}, ("qwen2.5-coder-0.5b",), {"checked": checked})
    outcome = its.conduct(study, "study.sqlite")
    outcome.results("puzzles", "qwen2.5-coder-0.5b")  # by method and size

``viz.Explorer(outcome)`` shows it. Fewer samples than were drawn need no run: votes are averaged
over all subsets of the most. ``fits`` has scaling laws and forecasts; ``comparisons`` exact tests,
bands over whole curves and how many problems a difference takes; ``sequential`` ends a study when
its question is answered; ``prices`` knows money and energy, and ``training`` what a larger model
would cost to train.
"""
