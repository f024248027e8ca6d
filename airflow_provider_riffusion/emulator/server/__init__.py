"""An HTTP server that misbehaves when it is told to; the API that it serves is a :class:`~.service.Service`."""
