"""python -m tinygen.reproduce P5: trains a model by a published protocol and compares the number.

Prints the protocol, the seed, the curve and the result beside the published value, saves the
checkpoint, and exits with 0 if the result is within its tolerance, 1 if it falls short.
`--list` names the experiments, `--quick` runs a few steps of one, to see that it works.
An experiment that was stopped goes on from its checkpoint; results are in tests/README.md.
"""
from . import binary, characters, cures, diffusion, flows, gans, images, latent, text, vqvae
from .protocol import EXPERIMENTS, main
