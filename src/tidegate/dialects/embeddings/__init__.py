"""Embeddings in every dialect that has them, and a neutral form between.

A front is what a caller speaks, a back what a provider speaks; texts go in, vectors come out.
"""
