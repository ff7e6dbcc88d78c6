"""Reasoning as a service: tiers, prices, limits, and the capacity that they need.

A request is a run with a tier, a user and a deadline. Who starts when is decided by objects that
take the time as an argument, so that the endpoint and the simulator ask the very same ones.

**A server.** Anything that speaks to OpenAI's API can ask it::

    pip install '.[llama,serve]'
    itslab serve qwen2.5-coder-0.5b                # http://127.0.0.1:8000/v1
    itslab serve qwen2.5-coder-0.5b --config serve.yaml --host 0.0.0.0 --log costs.jsonl

    curl -N http://127.0.0.1:8000/v1/chat/completions -d '{"stream": true,
        "model": "qwen2.5-coder-0.5b@balanced",
        "messages": [{"role": "user", "content": "What is 17 * 23?"}]}'

A model's name alone is the model as it is. After ``@`` stands a tier (``fast``, ``balanced``,
``deep``, or those of ``--config``, see ``config``), or a strategy and its size (``@best-of-8``); a
body may describe any other in its field ``strategy``, as studies do. ``tiers`` says what a tier is,
``wire`` what a body may hold, ``desk`` what becomes of a request, ``lobby`` and ``limits`` who has
to wait or to come back, ``forecast`` what a request will cost.

**Tiers, users, limits**, in the file that ``--config`` names; ``config`` says more::

    tiers:
      fast: {strategy: self-consistency-1, deadline: 20, priority: 1}
      deep: {strategy: self-consistency-16, budget: {tokens: 8000}, deadline: 120, cheaper: fast}
    users:
      - {name: ann, key: change-me, weight: 2, limits: [{per_minute: 20000}]}
    limits: [{unit: tokens, per_minute: 5000}]
    admission: {at_once: 16, queue: 64, full: degrade}

**A plan.** ``traffic``, ``machine`` and ``capacity`` simulate the same service, ``billing`` says
what its users pay; ``itslab load`` measures a real one.

**Beyond one machine.** A server is one process with one engine for each model. More machines are
more servers behind a balancer, such as HAProxy, which sends a request to the server with the fewest
open ones. Waiting, limits and shares of users are each server's own then: give each its part of a
user's limit. With ``haproxy.cfg``::

    defaults
        mode http
        timeout connect 5s
        timeout client 10m
        timeout server 10m

    frontend reasoning
        bind 127.0.0.1:8000
        default_backend servers

    backend servers
        balance leastconn
        option httpchk GET /health
        server one 127.0.0.1:8001 check
        server two 127.0.0.1:8002 check

and::

    itslab serve qwen2.5-coder-0.5b --port 8001 &
    itslab serve qwen2.5-coder-0.5b --port 8002 &
    haproxy -f haproxy.cfg

Large models stand behind vLLM or SGLang, with as many replicas as there are GPUs; one server of
ours before them then knows all users, and only decides and waits::

    vllm serve Qwen/Qwen2.5-7B-Instruct --data-parallel-size 4 --port 9000
    itslab serve Qwen/Qwen2.5-7B-Instruct --remote http://127.0.0.1:9000/v1 --batch-size 256
"""
