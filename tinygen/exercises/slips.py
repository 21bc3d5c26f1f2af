"""The right answer with one slip in it, made in its own source: what would each slip give?"""
import ast
import copy
import inspect
from functools import cache
from pathlib import Path

SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
PARTS = {"+": "term", "-": "term", "*": "factor", "/": "divisor", "**": "power"}
OTHERS = {ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div, ast.Add],
          ast.Div: [ast.Mult], ast.Pow: [ast.Mult]}
METHODS = {"sum": ["mean", "max"], "mean": ["sum", "max"], "max": ["min", "mean"]}


@cache
def slips(function):
    """{what is wrong: the function with that slip, in it or in what it calls of the same file}"""
    made, used = {}, _used(function)
    for f in used:
        for words, node in _slips(_node(f)):
            same = sum(key.startswith(words) for key in made)
            made[words + f" (place {same + 1})" * bool(same)] = _rebuilt(function, used, f, node)
    return made


def _used(function):
    """The function and all those of its file that it calls, directly or not."""
    found = [function]
    for f in found:
        for name in f.__code__.co_names:
            g = f.__globals__.get(name)
            if inspect.isfunction(g) and g not in found and (
                    g.__code__.co_filename == function.__code__.co_filename):
                found.append(g)
    return [f for f in found if _node(f)]


def _rebuilt(function, used, changed, node):
    free = {}
    for f in used:
        free |= inspect.getclosurevars(f).nonlocals
    scope = {**function.__globals__, **free}
    for f in reversed(used):
        made = node if f is changed else _node(f)
        if isinstance(made, ast.Lambda):
            scope[f.__name__] = eval(compile(ast.Expression(made), "slip", "eval"), scope)
        else:
            exec(compile(ast.Module([made], []), "slip", "exec"), scope)
    return scope[function.__name__]


@cache
def _tree(path):
    return ast.parse(Path(path).read_text(encoding="utf-8"))


@cache
def _node(function):
    """Where the function stands in its file."""
    code = function.__code__
    for node in ast.walk(_tree(code.co_filename)):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)) and node.lineno == code.co_firstlineno:
            if [a.arg for a in node.args.args] == [*code.co_varnames[:code.co_argcount]]:
                return node


def _slips(node):
    """(words, the node with that slip); none where a slip might loop for ever"""
    if any(isinstance(part, ast.While) for part in ast.walk(node)):
        return
    names = [a.arg for a in node.args.args] + [
        n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    for i, part in enumerate(ast.walk(node)):
        for words, other in _others(part, dict.fromkeys(names)):
            whole = copy.deepcopy(node)
            parts = list(ast.walk(whole))
            for parent in parts:
                for field, value in ast.iter_fields(parent):
                    if value is parts[i]:
                        setattr(parent, field, other)
                    elif isinstance(value, list):
                        value[:] = [other if v is parts[i] else v for v in value]
            yield words, ast.fix_missing_locations(whole)


def _others(part, names):
    """(words, what may stand by mistake in the place of this part)"""
    if isinstance(part, ast.BinOp) and type(part.op) in SIGNS:
        left, sign, right = part.left, SIGNS[type(part.op)], part.right
        before, after = map(_told, (left, right))
        for op in OTHERS[type(part.op)]:
            place = after.replace("made of", "what is made of")
            yield (f"{SIGNS[op]} stands where {sign} was needed, before {place}",
                   ast.BinOp(left, op(), right))
        yield f"the {PARTS[sign]} {after} is left out", left
        yield f"the {PARTS[sign] if sign in '+-' else 'factor'} {before} is left out", right
    if isinstance(part, ast.UnaryOp) and isinstance(part.op, ast.USub):
        yield f"the minus before {ast.unparse(part.operand)} is left out", part.operand
    if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load) and part.id in names:
        for name in names:
            if name != part.id:
                yield f"{name} stands where {part.id} was needed", ast.Name(name, ast.Load())
    if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute):
        name, owner = part.func.attr, part.func.value
        for other in METHODS.get(name, []):
            yield f"{other} stands where {name} was needed", ast.Call(
                ast.Attribute(owner, other, ast.Load()), part.args, part.keywords)
            for axis in (0, 1, None):
                along = "all axes" if axis is None else f"axis {axis}"
                yield f"{name} is taken over {along}", ast.Call(
                    part.func, [ast.Constant(axis), *part.args[1:]], part.keywords)
        if ast.unparse(owner) == "np" and len(part.args) == 1:
            yield f"{name} is left out", part.args[0]


def _told(part):
    """A part of a formula in words: where it is long, by its names alone, not to give it away."""
    text = ast.unparse(part)
    names = dict.fromkeys(n.id for n in ast.walk(part) if isinstance(n, ast.Name) and n.id != "np")
    short = len(text) < 9 or isinstance(part, ast.Name) or not names
    return text if short else f"made of {' and '.join(names)}"
