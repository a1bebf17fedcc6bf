"""MLflow tracking: training runs, study runs, datasets and where artifacts are."""
