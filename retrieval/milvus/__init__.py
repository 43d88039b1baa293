"""Galleries in Milvus: the interface of the local gallery over a server, a cluster, or a local file."""
