"""Real packages beside livepush, each in an environment of its own; ``test_projects.py`` runs their scenes."""
