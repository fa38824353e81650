"""What the agent says: `brain` is the interface, `choice` makes the one that BRAIN names."""
