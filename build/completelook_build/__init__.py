"""The training side of Complete the Look: data, model, training, evaluation, export."""
