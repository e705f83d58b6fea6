"""Personas as additions to a residual stream: traits, extraction, plans and what is measured about them."""
