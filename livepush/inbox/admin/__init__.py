"""The inbox in the admin: who got what and who read it, and notifications to compose, preview and resend.

``livepush.admin``, which Django finds, registers what is in ``pages``.
"""
