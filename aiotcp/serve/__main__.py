"""`python -m aiotcp.serve` is `aiotcp-serve`."""

from aiotcp.serve.start import main

main()
