"""Update code that works in the memory it has: calls that make new lists become calls that change old ones."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

# Calls that make a new list of tensors, and the same in the memory of their first operand.
IN_PLACE: dict[Callable[..., Any], Callable[..., Any]] = {
    getattr(torch, f"_foreach_{name}"): getattr(torch, f"_foreach_{name}_")
    for name in (
        "add", "sub", "mul", "div", "maximum", "minimum", "pow", "sqrt", "neg", "abs", "exp", "log", "reciprocal",
        "sign", "tanh", "sigmoid", "clamp_min", "clamp_max",
    )
}  # fmt: skip


def adam_step(
    variables: list[torch.Tensor], gradients: list[torch.Tensor], means: list[torch.Tensor],
    squares: list[torch.Tensor], rate: float, beta_1: float, beta_2: float, epsilon: float,
) -> tuple[list[torch.Tensor], ...]:  # fmt: skip
    """`kcompile.operators.updates.AdamStep` of many variables, in place in one pass over their memory."""
    # The kernel walks through memory as it lies: a transposed gradient would meet the wrong weights.
    gradients = [g.contiguous() for g in gradients]
    # torch corrects the bias itself, by the number of steps: after infinitely many there is none.
    steps = [torch.full((), torch.inf, device=variables[0].device)] * len(variables)
    torch._fused_adam_(
        variables, gradients, means, squares, [], steps, lr=rate, beta1=beta_1, beta2=beta_2, weight_decay=0.0,
        eps=epsilon, amsgrad=False, maximize=False,
    )  # fmt: skip
    return variables, means, squares


# Calls that always change operands: which of them hold the results.
MUTATED: dict[Callable[..., Any], tuple[int, ...]] = {adam_step: (0, 2, 3)}


def number(x: Any) -> float:
    """A rank-0 CPU tensor as the Python number that _foreach_ functions take."""
    return x.item() if isinstance(x, torch.Tensor) else x


def multiplier(x: Any) -> Any:
    """A rank-0 tensor as what a list is multiplied by: of the CPU a number; of a device itself, which waits for nothing."""
    return x.item() if isinstance(x, torch.Tensor) and x.is_cpu else x


def copies(column: list[torch.Tensor]) -> list[torch.Tensor]:
    """A column that may be changed, where the old one is still needed."""
    return [t.clone() for t in column]


# Whatever else reads a list may hand its tensors on, so the list must not change.
READERS = {*IN_PLACE, *IN_PLACE.values(), *MUTATED, torch._foreach_copy_, number, multiplier, copies}


def reuse_memory(graph: fx.Graph) -> None:
    """Make each call work in place where nothing reads the old values later.

    A variable's list is changed directly where its new values end up in it; the copy goes. Nodes carry
    their tensors' shapes in ``meta["shapes"]``: a result that is wider than its operand needs memory of
    its own.
    """
    # From the end: what a result is copied into is known before the call that makes it is looked at.
    for node in reversed(list(graph.nodes)):
        if node.op != "call_function":
            continue
        if node.target in MUTATED:
            for i, place in enumerate(MUTATED[node.target]):
                result = next((u for u in node.users if u.target is operator.getitem and u.args[1] == i), None)
                _settle(graph, node, place, result)
        elif node.target in IN_PLACE and _may_change(node, node.args[0], node):
            node.target = IN_PLACE[node.target]
            _become(graph, node.args[0], node, node)


def _settle(graph: fx.Graph, node: fx.Node, place: int, result: fx.Node | None) -> None:
    """Give a call that changes its operand one that may be changed; its result is that operand."""
    old = node.args[place]
    if not _may_change(node, old, result):
        with graph.inserting_before(node):
            old = graph.call_function(copies, (node.args[place],))
        node.update_arg(place, old)
    if result is not None:
        _become(graph, old, result, node)
        graph.erase_node(result)


def _may_change(node: fx.Node, old: Any, result: fx.Node | None) -> bool:
    """Whether the list ``old`` is not read after ``node`` but to be given its result."""
    if result is None or old.meta.get("shapes") is None or old.meta["shapes"] != result.meta.get("shapes"):
        return False
    if any(user.target not in READERS for user in old.users):
        return False
    later = [user for user in old.users if user > node]
    if old.op == "placeholder":
        return len(later) == 1 and _is_copy(later[0], old, result)
    return not later and old.target in READERS


def _become(graph: fx.Graph, old: Any, result: fx.Node, node: fx.Node) -> None:
    """What read ``result`` reads ``old``; a copy of it into itself goes."""
    for user in list(result.users):
        if _is_copy(user, old, result):
            graph.erase_node(user)
    result.replace_all_uses_with(old, delete_user_cb=lambda user: user is not node)


def _is_copy(user: fx.Node, target: fx.Node, source: fx.Node) -> bool:
    return user.target is torch._foreach_copy_ and user.args == (target, source)
