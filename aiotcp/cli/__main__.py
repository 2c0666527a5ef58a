"""`python -m aiotcp.cli`: the same as `aiotcp`."""

from aiotcp.cli.start import main

main()
