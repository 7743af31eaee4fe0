"""Composition roots: the only place where adapters meet the rest."""
