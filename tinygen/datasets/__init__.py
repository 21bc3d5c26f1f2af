"""Where x comes from: worlds whose p(x) is known, MNIST, binary tables, text; and batches."""
