"""Exercise 20: a block that records nothing.   (after lesson 07)

    with no_grad(mode):         mode.recording is False in here
        ...

and afterwards what it was before, whatever that was, also when the block was left by an exception,
which passes on. Such blocks may lie inside each other. Python calls __enter__ at the start, and
__exit__ at the end in any case.

Check it:  python lessons/exercises/ex20_no_grad.py       (--hint, --solution)
      or:  python -m tinygen.exercises 20                 (tells a SyntaxError, too)
"""
if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


class no_grad:
    def __init__(self, mode):
        self.mode = mode

    def __enter__(self):
        raise NotImplementedError("your turn")

    def __exit__(self, kind, error, traceback):
        raise NotImplementedError("your turn")
