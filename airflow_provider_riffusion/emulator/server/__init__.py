"""A server that can misbehave on order; which API it serves is up to its service."""
