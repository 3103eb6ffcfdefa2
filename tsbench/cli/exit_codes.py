"""The exit codes of `tsbench`. A fault is never 1, which means "regressed" to `pytest-energy`."""

OK = 0
NOT_DONE = 2  # a line says why; argparse's own code for a wrong command line, too
INTERRUPTED = 130  # a shell's exit code for Ctrl-C
CLOSED_PIPE = 141  # and for SIGPIPE: the reader of the output, such as head, has ended
