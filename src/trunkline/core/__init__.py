"""Decisions without I/O: machines, records and arithmetic. Imports the standard library and numpy only."""
