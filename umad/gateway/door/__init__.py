"""Decides who may come in, and how much each may send: connections, hosts, keys or names, quotas.

Pure but for connections, and for reading the file of keys at start.
"""
