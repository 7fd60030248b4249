"""The fan-out of one event loop: no Django, no database; its collaborators are passed in."""
