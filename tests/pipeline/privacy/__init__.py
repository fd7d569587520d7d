"""Tests of what protects people: what may leave, and what must go."""
