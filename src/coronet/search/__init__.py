"""The search for better parameters: Optuna asks, the training answers on inner folds of training patients."""
