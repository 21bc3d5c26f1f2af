"""Automatic differentiation on arrays, from scratch. Reading order: backend, tensor, elementwise,
shaping, reductions, products, convolution, fused, gradcheck, trace."""
