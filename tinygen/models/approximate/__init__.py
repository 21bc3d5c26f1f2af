"""Models whose ln p(x) is known through a lower bound: latent variables integrated by inference."""
