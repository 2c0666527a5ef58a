"""The command `aiotcp`: `main` has the subcommands' names, each of which is a module of its own."""
