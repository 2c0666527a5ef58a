"""`python -m aiotcp.cli`: the same as `aiotcp`."""

from aiotcp.cli.main import main

main()
