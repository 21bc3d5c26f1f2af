"""Automatic differentiation on arrays, from scratch. Reading order: backend, blocks, tensor,
backward, checkpoint, halves, elementwise, shaping, reductions, products, convolution, pooling,
fused, gradcheck, factors, diagnosis, trace."""
