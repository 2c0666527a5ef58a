"""The protocol itself, sans-IO: time and randomness are arguments."""

COMPILED = __file__.endswith((".so", ".pyd"))
"""Whether mypyc's build of the core runs, or its Python; see setup.py."""
