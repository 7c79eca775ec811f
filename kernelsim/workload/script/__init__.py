"""Portable scripts: lines that also run on a real Linux, their steps and what the steps print."""
