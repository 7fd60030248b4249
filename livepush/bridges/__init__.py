"""Bridges: packages that connect livepush with other programs. A bridge that is not used is not imported."""
