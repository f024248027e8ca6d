"""An HTTP server that misbehaves on order; the API that it serves is a :class:`~.service.Service`."""
