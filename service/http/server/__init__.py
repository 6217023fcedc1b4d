"""uvicorn with the changes of this service."""
