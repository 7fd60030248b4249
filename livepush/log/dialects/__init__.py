"""What each database needs said in words of its own."""
