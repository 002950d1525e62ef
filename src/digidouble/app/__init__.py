"""App: the command line. It parses, calls and shows; it computes no pictures."""
