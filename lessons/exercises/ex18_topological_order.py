"""Exercise 18: in which order a gradient travels back.   (after lesson 05)

A graph as a dict: node -> the nodes it was made from. Nodes are numbers, counted as they were made,
so that a node is made from smaller numbers only.

    {0: [], 1: [0], 2: [0, 1], 3: [2, 1]}      3 was made from 2 and 1, 2 from 0 and 1, ...

The gradient starts at y and travels from each node to the nodes it was made from. Write the order
in which to visit the nodes: y and all that it was made from, directly or not, each once, and none
before every node that was made from it (its gradient is complete only then). Other nodes have no
part in it. Graphs may be long: 5000 nodes in a row.

Check it:  python lessons/exercises/ex18_topological_order.py       (--hint, --solution)
      or:  python -m tinygen.exercises 18                           (tells a SyntaxError, too)
"""
if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def backward_order(y, inputs):
    """a node, a dict -> a list of nodes, y first"""
    raise NotImplementedError("your turn")
