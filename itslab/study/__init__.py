"""Many runs at once, and what may be said of them."""
