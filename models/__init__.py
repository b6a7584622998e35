"""Networks and objectives in plain torch; no Ray, no MLflow, no corpora."""
