"""Tests of fencer.power."""
