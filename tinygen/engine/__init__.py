"""Automatic differentiation on arrays, from scratch. Reading order: backend, blocks, tensor,
elementwise, shaping, reductions, products, convolution, fused, checkpoint, gradcheck, diagnosis,
trace."""
