"""Training, evaluation and prediction of anything that is called like a layer."""
