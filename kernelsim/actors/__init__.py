"""What waits: one actor a file, each a task with a mailbox in virtual time. Rank 6.

Actors own state and call the plain functions of `mm` and `hw`; contention appears because they
queue for each other. Read a file from the top: what it hears (messages), what it knows (state),
what it does (the actor). After every `await`, shared state may have changed.
"""
