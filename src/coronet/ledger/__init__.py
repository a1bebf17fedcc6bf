"""MLflow: what people look at. Everything here can be rebuilt from DVC's results."""
