"""The call's audio: one interface, the engines behind it, and what they share."""
