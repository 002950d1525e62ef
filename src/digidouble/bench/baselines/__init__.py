"""What a double is compared with: a frozen paste, the classic 2D pipeline, and the cost of a one-shot generator."""
