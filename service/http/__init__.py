"""The HTTP side: endpoints, middleware, requests, responses, the operator's page, the server."""
