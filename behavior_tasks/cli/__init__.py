"""The command line: settings and paths in, runs and readable pages out; one file per group of commands."""
