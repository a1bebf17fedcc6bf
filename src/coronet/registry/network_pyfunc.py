"""What MLflow runs when it loads ``heart`` or ``calcium``: code and plain weights, no pickle.

MLflow executes this file by itself, beside the copy of the package that the version carries.
"""

from __future__ import annotations

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel, PythonModelContext


class NetworkModel(PythonModel):
    """HU on the network's own grid to probabilities."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights."""
        from coronet.networks.factory import load_model

        self._model = load_model(context.artifacts["fit"])

    # of an array MLflow infers no signature in place of the one it is given, as it would of a list
    def predict(self, context, model_input: np.ndarray, params=None):
        """Probabilities, float32, of HU, both of shape (n, 1, x, y, z)."""
        from coronet.registry.reference_output import network_output

        return network_output(model_input, self._model)


mlflow.models.set_model(NetworkModel())
