"""Scenarios: situations of TCP as files, that can be played, looked at and tested."""
