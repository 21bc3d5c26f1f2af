"""Exercise 26: the masks A and B of a PixelCNN.   (after lesson 15)

Pixels are drawn row after row, each row from left to right. A kernel (k, k), k odd, is centred on
the pixel that is to be predicted. Its mask is 1 where the kernel sees a pixel drawn before, else 0.
Kind "A", for the first layer, must not see the centre; kind "B", for later layers, sees it.

Check it:  python lessons/exercises/ex26_pixelcnn_mask.py       (--hint, --solution)
      or:  python -m tinygen.exercises 26                       (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def mask(k, kind):
    """k odd, kind "A" or "B" -> (k, k), of 0 and 1"""
    raise NotImplementedError("your turn")
