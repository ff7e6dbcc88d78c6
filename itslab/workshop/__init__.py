"""The workshop: sessions, and what is handed out for them."""
