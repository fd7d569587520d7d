"""Serving: the champion and today's events in; what a business person takes away out."""
