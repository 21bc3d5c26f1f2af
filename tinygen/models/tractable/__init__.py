"""Models whose log_prob(x) is exact: autoregressive models and normalizing flows."""
