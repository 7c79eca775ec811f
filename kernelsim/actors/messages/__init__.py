"""What actors say to each other: frozen values, one file for each actor that hears them.

They lie below all actors, so that a sender needs to know the message and not its receiver.
"""
