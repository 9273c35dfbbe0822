"""HOW IT TRAVELS: messages, the broker, and the way to it."""
