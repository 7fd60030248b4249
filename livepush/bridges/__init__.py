"""Bridges: packages that connect livepush with other programs. What no one uses is not imported."""
