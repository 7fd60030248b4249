"""What a page carries: the position of its request."""
