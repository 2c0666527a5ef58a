"""Adapters for libraries that leave no other door. Each imports its library; nothing imports it."""
