"""The process: runs what its program asks for, one operation after the other."""
