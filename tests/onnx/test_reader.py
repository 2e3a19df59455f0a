"""Files into the IR: what is read, what is kept of the interface, what is refused and how."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from kcompile.errors import FileFormatError, UnsupportedError
from kcompile.ir import show
from kcompile.onnx.reader import read, read_model
from kcompile.operators.opaque import Opaque
from kcompile.runtime.session import run
from tests.onnx.backend import through
from tests.support import close

pytestmark = pytest.mark.torchless
HEAD = '<ir_version: 9, opset_import: ["" : 20]>\n'
RANDOM = np.random.default_rng(0)


def model(text: str, **initializers: np.ndarray) -> onnx.ModelProto:
    """A model of its text form, with more initialisers."""
    made = parser.parse_model(text if text.startswith("<") else HEAD + text)
    made.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in initializers.items())
    return made


def array(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def same(source: onnx.ModelProto, **feeds: np.ndarray) -> list[str]:
    """The operators of the file made of ``source``, which computes the same on ``feeds``."""
    made, _ = through(source)
    onnx.checker.check_model(made, full_check=True)
    for got, want in zip(run(made.SerializeToString(), feeds), run(source.SerializeToString(), feeds), strict=True):
        close(got, want)
    return [n.op_type for n in made.graph.node]


# ---- sizes

CHAINS = {
    "merge two axes": """
        s = Shape(x) b = Gather(s, zero) t = Gather(s, one) n = Mul(b, t) m = Unsqueeze(n, first)
        target = Concat<axis = 0>(m, minus) y = Reshape(x, target)""",
    "keep the batch": "s = Shape<start = 0, end = 1>(x) target = Concat<axis = 0>(s, minus) y = Reshape(x, target)",
    "heads apart": """
        s = Shape(x) b = Slice(s, first, two, first) d = Div(four, halves)
        target = Concat<axis = 0>(b, d, halves) y = Reshape(x, target)""",
    "by the product": """
        s = Shape<start = 0, end = 2>(x) p = ReduceProd<keepdims = 1>(s) target = Concat<axis = 0>(p, four)
        y = Reshape(x, target)""",
    "where": """
        s = Shape(x) o = ConstantOfShape<value = int64[1] {-1}>(rank) e = Equal(given, o) w = Where(e, s, given)
        y = Expand(x, w)""",
}


@pytest.mark.parametrize("name", CHAINS)
def test_shape_arithmetic_becomes_a_shape(name: str) -> None:
    source = model(
        f"g (float[N, T, 4] x) => (float[A, B, C] y) {{ {CHAINS[name]} }}"
        if name in ("where",)
        else f"g (float[N, T, 4] x) => (float y) {{ {CHAINS[name]} }}",
        zero=np.array(0), one=np.array(1), first=np.array([0]), minus=np.array([-1]), two=np.array([2]),
        four=np.array([4]), halves=np.array([2]), rank=np.array([3]), given=np.array([-1, -1, 4]),
    )  # fmt: skip
    source.graph.output[0].type.tensor_type.ClearField("shape")
    made, account = through(source)
    assert not account.whole
    for n, t in ((2, 3), (1, 1), (4, 7)):
        x = array(n, t, 4)
        close(run(made.SerializeToString(), {"x": x})[0], run(source.SerializeToString(), {"x": x})[0])
    assert [n.op_type for n in made.graph.node] in (["Reshape"], ["Identity"])


def test_a_size_that_data_decide_is_carried_through() -> None:
    text = "g (float[N] x) => (float[1, M] y) { n = NonZero(x) s = Shape(n) f = Cast<to = 1>(n) y = Reshape(f, s) }"
    assert same(model(text), x=np.float32([0, 1, 2, 0, 3]))[0] == "NonZero"


# ---- operators of several versions


@pytest.mark.parametrize(("size", "whole"), [("n", True), ("6", False)])
def test_an_even_split_of_a_free_size_is_known_where_it_comes_out(size: str, whole: bool) -> None:
    """A size of n may be odd; n joined with n may not."""
    plain = model(f"g (float[{size}, 2] x) => (float[a, 2] y, float[b, 2] z) {{ y, z = Split<num_outputs = 2>(x) }}")
    assert bool(through(plain)[1].whole) is whole
    assert same(plain, x=array(6, 2)) == ["Split"]
    joined = model(
        f"""g (float[{size}, 2] x) => (float[{size}, 2] y, float[{size}, 2] z) {{
            r = Relu(x) c = Concat<axis = 0>(x, r) a, z = Split<num_outputs = 2>(c) y = Neg(a) }}"""
    )
    assert not through(joined)[1].whole


@pytest.mark.parametrize(
    ("opset", "body"),
    [
        (7, "y = Clip<min = -1.0, max = 1.0>(x)"),
        (10, "y = Unsqueeze<axes = [0]>(x)"),
        (10, "y = ReduceSum<axes = [1], keepdims = 0>(x)"),
        (9, "y = Slice<starts = [1], ends = [3], axes = [1]>(x)"),
        (10, "y = Pad<pads = [0, 1, 0, 2], value = 3.0>(x)"),
        (11, "y = Softmax<axis = 1>(x)"),
        (11, "y = Softmax<axis = 0>(x)"),
        (9, "y = Dropout<ratio = 0.5>(x)"),
        (9, "y, m = TopK<axis = 1, k = 2>(x)"),
        (12, "y, z = Split<axis = 1, split = [1, 3]>(x)"),
    ],
)
def test_forms_of_old_opsets(opset: int, body: str) -> None:
    if "TopK" in body:
        body = "y, m = TopK<axis = 1, k = 2>(x)" if opset < 10 else body
    source = model(f'<ir_version: 7, opset_import: ["" : {opset}]>\ng (float[N, 4] x) => (float y) {{ {body} }}')
    source.graph.output[0].type.tensor_type.ClearField("shape")
    made, account = through(source)
    assert not account.whole and made.opset_import[0].version == 17
    x = array(3, 4)
    close(run(made.SerializeToString(), {"x": x})[0], run(source.SerializeToString(), {"x": x})[0])


def test_an_attribute_that_nobody_knows_is_no_reason_to_guess() -> None:
    source = model("g (float[2] x) => (float[2] y) { y = Relu<surprise = 1>(x) }")
    (node,) = read(source).operators()
    assert isinstance(node.op, Opaque) and node.op.op_type == "Relu"


# ---- the interface


def test_names_sizes_and_texts_are_kept() -> None:
    source = model(
        'g (float["batch size", 4] image, float[?, 4] other) => (float["batch size", 4] "out put") '
        '{ "out put" = Add(image, other) }'.replace('"out put"', "out").replace('"batch size"', "B")
    )
    source.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch size"
    source.graph.output[0].name = source.graph.node[0].output[0] = "out put/é"
    helper.set_model_props(source, {"author": "someone"})
    made, _ = through(source)
    for field in ("input", "output"):
        for a, b in zip(getattr(source.graph, field), getattr(made.graph, field), strict=True):
            assert a == b
    assert [(p.key, p.value) for p in made.metadata_props] == [("author", "someone")]


def test_defaults_of_inputs_stay() -> None:
    source = model(
        "g (float[N, 2] x, float[2] scale) => (float[N, 2] y) { y = Mul(x, scale) }", scale=np.float32([2, 3])
    )
    made, _ = through(source)
    data = made.SerializeToString()
    x = array(3, 2)
    close(run(data, {"x": x})[0], x * np.float32([2, 3]))
    close(run(data, {"x": x, "scale": np.float32([1, 0])})[0], x * np.float32([1, 0]))


def test_initialisers_of_old_files_are_no_inputs() -> None:
    source = model(
        '<ir_version: 3, opset_import: ["" : 8]>\ng (float[N, 2] x, float[2] w) => (float[N, 2] y) { y = Mul(x, w) }',
        w=np.float32([2, 3]),
    )
    assert read(source).input_names == ("x",)


def test_local_functions_are_put_in_the_place_of_their_calls() -> None:
    source = model(
        '<ir_version: 9, opset_import: ["" : 20, "mine" : 1]>\n'
        "g (float[N] x) => (float[N] y) { y = mine.Twice(x) }\n"
        '<domain: "mine", opset_import: ["" : 20]>\nTwice (a) => (b) { b = Add(a, a) }'
    )
    assert same(source, x=array(3)) == ["Add"]


def test_other_element_types_and_kinds_pass() -> None:
    words = helper.make_tensor("words", TensorProto.STRING, [2], [b"a", b"b"])
    source = model(
        "g (string[2] x) => (string[2] y, seq(float[N]) z) { y = StringConcat(x, words) z = SequenceEmpty() }"
    )
    source.graph.initializer.append(words)
    made, account = through(source)
    assert account.whole.total() == 2 and [t.name for t in made.graph.initializer] == ["words"]
    found = run(made.SerializeToString(), {"x": np.array(["p", "q"], dtype=object)})
    assert found[0].tolist() == ["pa", "qb"] and found[1] == []


def test_random_nodes_stay_apart() -> None:
    source = model("g (float[8] x) => (float[8] y) { a = RandomNormalLike(x) b = RandomNormalLike(x) y = Sub(a, b) }")
    made, _ = through(source)
    assert np.abs(run(made.SerializeToString(), {"x": array(8)})[0]).max() > 0


def test_equal_subgraphs_that_capture_are_one_node() -> None:
    branch = "then_branch = t () => (float[N] {0}) {{ {0} = Add(x, w) }}, else_branch = e () => (float[N] {1}) {{ {1} = Neg(x) }}"
    body = f"p = If(c) <{branch.format('a', 'b')}> q = If(c) <{branch.format('u', 'v')}> y = Mul(p, q)"
    source = model(f"g (float[N] x, bool c) => (float[N] y) {{ {body} }}", w=np.float32([1]))
    for flag in (True, False):
        assert same(source, x=array(3), c=np.array(flag)) == ["If", "Mul"]


def test_a_branch_that_is_known_takes_the_place_of_the_if() -> None:
    """As TorchScript writes squeeze: on the size of an axis, which is known here."""
    source = model(
        """g (float[N, 1, 3] x) => (float y) {
          s = Shape(x) d = Gather(s, one) c = Equal(d, one)
          y = If(c) <then_branch = t () => (float a) { a = Squeeze(x, axes) },
                     else_branch = e () => (float b) { b = Identity(x) }> }""",
        one=np.array(1), axes=np.array([1]),
    )  # fmt: skip
    source.graph.output[0].type.tensor_type.ClearField("shape")
    made, account = through(source)
    assert [n.op_type for n in made.graph.node] == ["Squeeze"] and not account.whole
    x = array(2, 1, 3)
    close(run(made.SerializeToString(), {"x": x})[0], x[:, 0])


def test_convolutions_between_transposes_have_none_left() -> None:
    body = """
        a = Transpose<perm = [0, 3, 1, 2]>(x) b = Conv<pads = [1, 1, 1, 1]>(a, k) c = Transpose<perm = [0, 2, 3, 1]>(b)
        d = Add(c, bias) e = Relu(d) f = Transpose<perm = [0, 3, 1, 2]>(e) h = Conv(f, l)
        y = Transpose<perm = [0, 2, 3, 1]>(h)"""
    source = model(
        f"g (float[N, 6, 6, 3] x) => (float y) {{ {body} }}", k=array(4, 3, 3, 3), l=array(2, 4, 1, 1), bias=array(4)
    )
    source.graph.output[0].type.tensor_type.ClearField("shape")
    made, _ = through(source)
    assert [n.op_type for n in made.graph.node] == ["Transpose", "Conv", "Relu", "Conv", "Transpose"]
    x = array(2, 6, 6, 3)
    close(run(made.SerializeToString(), {"x": x})[0], run(source.SerializeToString(), {"x": x})[0])


def test_a_computed_kernel_needs_no_transpose() -> None:
    text = "g (float[N, 3, 6, 6] x, float[4, 3, 3, 3] k) => (float[N, 4, 4, 4] y) { y = Conv(x, k) }"
    assert same(model(text), x=array(2, 3, 6, 6), k=array(4, 3, 3, 3)) == ["Conv"]


def test_quantised_nodes_stay_as_they_are() -> None:
    body = "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) w = DequantizeLinear(k, s, z) y = MatMul(d, w)"
    source = model(
        f"g (float[N, 4] x) => (float[N, 2] y) {{ {body} }}",
        s=np.float32(0.1), z=np.uint8(3), k=np.arange(8, dtype=np.uint8).reshape(4, 2),
    )  # fmt: skip
    assert same(source, x=array(3, 4)) == ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "MatMul"]


def test_the_graph_reads_as_text() -> None:
    source = model("g (float[N, 3] x) => (float[N, 3] y) { h = Hardmax<axis = 1>(x) y = Relu(h) }")
    assert "opaque(%x" in show(read(source)) and "relu(" in show(read(source))


# ---- files that are refused, in one line


def _twice(m: onnx.ModelProto) -> None:
    m.graph.initializer.extend([m.graph.initializer[0]])


def _dangling(m: onnx.ModelProto) -> None:
    m.graph.node[0].input[0] = "no\x1b[31mwhere"


def _cycle(m: onnx.ModelProto) -> None:
    m.graph.node.extend([helper.make_node("Neg", ["q"], ["p"]), helper.make_node("Neg", ["p"], ["q"])])


def _again(m: onnx.ModelProto) -> None:
    m.graph.node.extend([m.graph.node[0]])


def _lost_output(m: onnx.ModelProto) -> None:
    m.graph.output[0].name = "z"


def _reference(m: onnx.ModelProto) -> None:
    m.graph.node[0].attribute.add(name="alpha", ref_attr_name="beta", type=1)


def _two_versions(m: onnx.ModelProto) -> None:
    m.opset_import.extend([helper.make_opsetid("", 18)])


def _functions(calls: int, depth: int) -> Callable[[onnx.ModelProto], None]:
    def change(m: onnx.ModelProto) -> None:
        m.opset_import.extend([helper.make_opsetid("f", 1)])
        for i in range(depth):
            callee = (f"F{i + 1}", "f") if i + 1 < depth else ("Neg", "")
            nodes = [helper.make_node(callee[0], ["a"], [f"b{k}"], domain=callee[1]) for k in range(calls)]
            nodes.append(helper.make_node("Sum", [f"b{k}" for k in range(calls)], ["b"]))
            m.functions.append(
                helper.make_function(
                    "f", f"F{i}", ["a"], ["b"], nodes, [helper.make_opsetid(d, v) for d, v in (("", 20), ("f", 1))]
                )
            )
        m.graph.node[0].op_type, m.graph.node[0].domain = "F0", "f"
        del m.graph.node[0].input[1:]

    return change


def _recursion(m: onnx.ModelProto) -> None:
    _functions(1, 1)(m)
    m.functions[0].node[0].op_type, m.functions[0].node[0].domain = "F0", "f"


def _sparse(m: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.float32([1]), "s")
    places = numpy_helper.from_array(np.int64([0]), "i")
    m.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [1 << 40]))


def _damaged(m: onnx.ModelProto) -> None:
    m.graph.initializer[0].raw_data = b"\0"


def _depth(m: onnx.ModelProto) -> None:
    graph = helper.make_graph([], "g", [], [])
    for _ in range(20):
        node = helper.make_node("If", ["c"], ["o"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([node], "g", [], [])
        del graph.node[0].attribute[1]
    m.graph.initializer.append(numpy_helper.from_array(np.array(True), "c"))
    m.graph.node.extend(graph.node)


HOSTILE = [
    (_twice, "initialiser 'w' is there twice"),
    (_dangling, r"reads 'no\\\\x1b\[31mwhere', which nothing makes"),
    (_cycle, "reads 'q', which nothing makes before it"),
    (_again, "'y' is made twice"),
    (_lost_output, "nothing makes the output 'z'"),
    (_reference, "refers to an attribute of a function"),
    (_two_versions, "two versions of one"),
    (_functions(10, 12), "expand to more than"),
    (_recursion, "calls itself"),
    (_sparse, "too large"),
    (_damaged, "'w' is damaged"),
    (_depth, "nest deeper than"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE)
def test_damaged_and_hostile_files(change: Callable[[onnx.ModelProto], None], message: str) -> None:
    source = model("g (float[N, 2] x) => (float[N, 2] y) { y = Mul(x, w) }", w=np.float32([1, 2]))
    change(source)
    with pytest.raises(FileFormatError, match=message) as error:
        read(source)
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


def test_endless_constants_are_not_computed() -> None:
    """A loop that never ends, and a tensor of a terabyte: carried through, not run."""
    text = """
        g () => (float[M] y, int64[] i) {
          y = ConstantOfShape(size)
          i = Loop(most, yes, start) <body = b (int64[] n, bool[] c, int64[] s) => (bool[] d, int64[] t) { d = Identity(c) t = Add(s, n) }>
        }"""
    source = model(text, size=np.array([1 << 40]), most=np.array(1 << 60), yes=np.array(True), start=np.array(0))
    made, _ = through(source)
    assert {n.op_type for n in made.graph.node} == {"Expand", "Loop"} and made.ByteSize() < 2000


def test_reasons_are_given() -> None:
    account = read_model(model("g (float[2] x) => (float[2] y) { y = Hardmax<axis = 0>(x) }")).account
    assert account.reasons == {"Hardmax": {"the IR has no such operator": None}}


def test_an_operator_that_onnx_has_not_is_named() -> None:
    source = model('<ir_version: 8, opset_import: ["" : 15]>\ng (float[2] x) => (float[2] y) { y = Erfc(x) }')
    with pytest.raises(UnsupportedError, match="ONNX has no operator Erfc"):
        through(source)


def test_torch_says_what_it_can_not_run() -> None:
    lower = pytest.importorskip("kcompile.engine.lower").lower
    with pytest.raises(UnsupportedError, match=r"operator 'Hardmax'.*torch has no such operator"):
        lower(read(model("g (float[2] x) => (float[2] y) { y = Hardmax<axis = 0>(x) }")))
