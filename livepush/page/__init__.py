"""The position that each page carries."""
