"""Fetches the images and sounds that requests name by http and https addresses. Off by default.

Whoever may ask chooses the address, and this machine fetches it. So it could be made to read what
only this machine reaches: its own ports, its network, a cloud's metadata (server-side request
forgery). Therefore a name is resolved once, the addresses found are looked at, and the connection
goes to one of them. Each redirect is a new address and looked at anew. No proxy is used: it would
resolve names by itself.

    networks  which addresses may be asked
    fetching  one file from its server, within limits
    files     RemoteFiles: puts what was fetched into a request
    kept      KeptFiles: what was fetched lately, since a client sends its history again

Not: decoding, or what a file is. Owner of all state: the gateway's event loop.
"""
