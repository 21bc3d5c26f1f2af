"""Generative models, sorted by what they say about p_theta(x):

    tractable/     explicit density, computed exactly
    approximate/   explicit density, known through a lower bound
    implicit/      no density: a model is what it samples
"""
