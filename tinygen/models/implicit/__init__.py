"""Models that are nothing but a sampler: generative adversarial networks."""
