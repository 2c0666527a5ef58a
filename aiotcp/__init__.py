"""aiotcp: a complete, modern TCP in user space, for asyncio."""
