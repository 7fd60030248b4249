"""A project with django-eventstream, several processes joined by Redis."""
