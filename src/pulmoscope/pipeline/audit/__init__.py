"""Audits: from a model and labelled images or studies to what can be relied on."""
