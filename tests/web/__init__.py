"""The web room, from the bytes of a client to the bytes it gets back."""
