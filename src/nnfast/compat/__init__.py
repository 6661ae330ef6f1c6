"""Faces of other libraries over nnfast's engine: programs run with the import changed."""
