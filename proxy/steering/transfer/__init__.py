"""Persona vectors carried from one model to another, by linear maps between their residual spaces."""
