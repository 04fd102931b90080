"""What each kind of task needs: rows to features, predictions to scores; imports data, metrics and models."""
