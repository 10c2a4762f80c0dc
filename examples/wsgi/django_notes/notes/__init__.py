"""The one application of this project: notes, and the pages around them."""
