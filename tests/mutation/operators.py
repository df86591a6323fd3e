"""What may stand in place of a piece of code, as a slip of the pen would have it."""

import ast
from collections.abc import Iterator

_SWAPS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.FloorDiv,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.Mult,),
    ast.Pow: (ast.Mult,),
}
_SWAPPED_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}

_SKIPPED_STATEMENTS = (
    "__slots__ =",
    "if TYPE_CHECKING:",
    "import ",
    "from ",
    "def __repr__(",
    "P = TypeVar(",
)


def is_skipped(statement: ast.stmt) -> bool:
    """Return whether a statement does nothing that tests could see, or names numbers that were chosen."""
    match statement:
        case ast.Expr(value=ast.Constant()) | ast.AnnAssign(value=None):
            return True  # documentation, and attributes without a value
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if name.isupper():
            if all(_is_of_number(each) for each in ast.walk(value)):
                return True
    return ast.unparse(statement).startswith(_SKIPPED_STATEMENTS)


def _is_of_number(node: ast.AST) -> bool:
    number = isinstance(node, ast.Constant) and isinstance(node.value, int | float)
    return number or isinstance(node, ast.BinOp | ast.operator | ast.Tuple | ast.Load)


def alternatives(node: ast.AST) -> Iterator[ast.AST]:
    """Iterate over what may stand in place of an operator or expression."""
    match node:
        case ast.Constant(value=value):
            yield from _other_constants(value)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.BoolOp(op=op, values=values):
            for dropped in values:
                rest = [each for each in values if each is not dropped]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.Name(id=name) if name in _SWAPPED_NAMES:
            yield ast.Name(_SWAPPED_NAMES[name], ast.Load())
        case _:
            for swap in _SWAPS.get(type(node), ()):
                yield swap()


def _other_constants(value: object) -> Iterator[ast.expr]:
    match value:
        case bool():
            yield ast.Constant(not value)
        case int() | float():
            yield ast.Constant(value + 1)
            yield ast.Constant(value - 1)
        case str():
            yield ast.Constant("" if value else "X")
        case bytes():
            yield ast.Constant(b"" if value else b"X")


def negations(condition: ast.expr) -> Iterator[ast.expr]:
    """Negate a condition, unless an alternative does it already."""
    simple = isinstance(condition, ast.Compare) and len(condition.ops) == 1
    if not simple and not isinstance(condition, ast.UnaryOp | ast.Constant):
        yield ast.UnaryOp(ast.Not(), condition)


def alternative_statements(statement: ast.stmt, *, returns_bool: bool) -> Iterator[ast.stmt]:
    """Iterate over what may stand in place of a statement in a function that returns a bool, or does not."""
    match statement:
        case ast.Return(value=ast.expr() as value):
            if returns_bool:
                if not isinstance(value, ast.Constant | ast.Compare | ast.UnaryOp):
                    yield ast.Return(ast.UnaryOp(ast.Not(), value))
            elif ast.unparse(value) not in {"None", "True", "False"}:
                yield ast.Return(ast.Constant(None))
        case _ if _may_be_left_out(statement):
            yield ast.Pass()


def _may_be_left_out(statement: ast.stmt) -> bool:
    match statement:
        case ast.AugAssign() | ast.Delete() | ast.Continue() | ast.Break() | ast.Raise() | ast.Return():
            return True
        case ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom()):
            return True
        case ast.Assign(targets=[target]) | ast.AnnAssign(target=target):
            return any(isinstance(each, ast.Attribute | ast.Subscript) for each in ast.walk(target))
    return False
