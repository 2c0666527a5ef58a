"""Bytes to headers and back: pure functions, no input or output."""
