"""uvicorn, as this service runs it."""
