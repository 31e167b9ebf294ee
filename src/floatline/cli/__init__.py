"""The command line: arguments in, one diagnosis called, text and an exit code out."""
