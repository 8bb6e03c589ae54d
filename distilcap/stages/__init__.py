"""The steps of an experiment as stages: data, features, training, captions, scores, export."""
