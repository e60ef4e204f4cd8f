"""The compose file's cluster without Docker: real servers and its own commands on loopback."""
