"""What MLflow runs when it loads ``coronet``: a scan's path in, its score out; no pickle.

MLflow executes this file by itself, beside the copy of the package that the version carries. Whoever may send
it a path may have any scan that the process can read scored, so serve it on the loopback address only.
"""

from __future__ import annotations

import mlflow
import pandas
from mlflow.pyfunc import PythonModel, PythonModelContext


class ScanModel(PythonModel):
    """Paths of scans to scores, by one heart and one calcium network."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights of both networks."""
        from coronet.networks.factory import load_model

        self._models = {f"{name}_model": load_model(context.artifacts[name]) for name in ("heart", "calcium")}

    # of a table MLflow infers no signature in place of the one it is given, as it would of a list
    def predict(self, context, model_input: pandas.DataFrame, params=None):
        """A row a scan: its score, what the score is worth and what to beware of, all of ``score.json``."""
        import json

        from coronet.io.reader import read_scan
        from coronet.scoring.score_scan import score_scan
        from coronet.scoring.score_text import warning_lines

        rows = []
        for path in model_input["scan"]:
            scored = score_scan(read_scan(path), **self._models)
            answer = scored.to_json()
            rows.append(
                {
                    "agatston": float(scored.result.scores.agatston),
                    "statement": " ".join([scored.statement.text, *warning_lines(scored.warnings)]),
                    "score_json": json.dumps(answer),
                }
            )
        return pandas.DataFrame(rows)


mlflow.models.set_model(ScanModel())
