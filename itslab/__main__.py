"""``python -m itslab`` is the command ``itslab``."""

from itslab.cli import app

app()
