"""Hostile uploads against a running service, and what each is answered and costs."""
