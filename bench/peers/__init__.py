"""A module a peer, named after it; a function of it for each kind of work that it can do.

Peers are written as their own users would to make them fast; a faster way is welcome.
"""
