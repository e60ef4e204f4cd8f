"""Faults on purpose: tools that break a running cluster, and a judge of what it did meanwhile."""
