"""The only place that knows uvicorn, daphne and TCP."""
