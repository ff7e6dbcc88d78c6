"""The workshop: three sessions from an idea to a deployed reasoning service.

``session.Session`` is what a session's notebook holds: exercises whose checks name the mistake
(``exercise``, ``exercises``), what a participant expects before seeing it (``expectation``), and
the journal in which both are kept (``journal``). Who teaches finds plan, timing, answers and
pitfalls in ``notebooks/workshop/teacher``; ``itslab workshop --help`` starts, checks, bundles,
serves and collects.
"""

from itslab.workshop.session import Session

__all__ = ["Session"]
