"""Which memory of a device holds which tensor when, as a game: rules, solvers, and an agent that learns to play."""
