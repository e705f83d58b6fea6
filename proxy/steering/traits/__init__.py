"""Traits: what one is, its files, its names, and the writing of new ones."""
