"""Exercise 19: gradients that meet in a node add up.   (after lesson 05)

    order   nodes, y first, in the order of exercise 18
    rules   node -> [(input, rule), ...]: rule(g) gives what the node's gradient g brings to the
            input. A node may name the same input twice. For z = x + y both rules give g itself.
    g       the gradient of y, an array

Write the gradients of all nodes, as a dict. Start from: dx = the sum over all uses of x.

Check it:  python lessons/exercises/ex19_accumulation.py       (--hint, --solution)
      or:  python -m tinygen.exercises 19                      (tells a SyntaxError, too)
"""
if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def accumulate(g, order, rules):
    """-> dict: node -> its gradient, an array"""
    raise NotImplementedError("your turn")
