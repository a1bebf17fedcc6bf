"""Registered models: versions, the promotion gate, the promotion log, rollback and model cards."""
