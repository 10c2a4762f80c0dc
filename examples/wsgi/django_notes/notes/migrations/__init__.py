"""The steps to the tables of notes."""
