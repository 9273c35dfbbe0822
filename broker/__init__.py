"""Transport: the messages, the broker, and the connection of a peer to it. It never reads the body of a request."""
