"""Retrievers: models that rank the images of a gallery for a query."""

from .faiss_retriever import FaissRetriever

__all__ = ['FaissRetriever']
