"""Fuzzing: broken inputs for every parser and command. `python -m studies.fuzz` runs it."""
