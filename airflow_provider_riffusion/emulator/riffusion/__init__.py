"""The Riffusion API v1 of useapi.net, as a :class:`~..server.service.Service`."""
