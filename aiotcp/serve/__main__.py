"""`python -m aiotcp.serve` is `aiotcp-serve`."""

from aiotcp.serve.main import main

main()
