"""The protocol itself, sans-IO: time and randomness are arguments."""
