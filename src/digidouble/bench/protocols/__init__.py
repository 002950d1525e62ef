"""One module a protocol; `measures` holds the pure cores of those that watch a pair of plate and output."""
