"""Metrics for Prometheus: what processes hold and have done, read when somebody asks.

The journey of a scrape: ``views`` checks who asks, ``gathering`` reads this process's figures, ``sharing`` adds those
that other processes have written down lately, and ``exposition`` encodes them by ``prometheus_client``.
"""
