"""Virtual time for tests: ours and our users'."""
