"""The Riffusion API v1 of useapi.net, without a network."""
