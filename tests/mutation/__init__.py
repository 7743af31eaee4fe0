"""Mutation testing of what decides a fence: see docs/mutation.md."""
