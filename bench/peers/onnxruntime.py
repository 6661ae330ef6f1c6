"""ONNX Runtime: Gemm and Tanh nodes, session.run."""

from __future__ import annotations

import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from bench.data import Data
from bench.peers.contestant import Contestant, calls


def one(data: Data) -> Contestant:
    nodes, weights, value = [], [], "x"
    layers = data.layers(data.theta)
    for i, (w, b) in enumerate(layers):
        weights += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [f"z{i}"]))
        value = f"z{i}"
        if i < len(layers) - 1:
            nodes.append(helper.make_node("Tanh", [value], [f"a{i}"]))
            value = f"a{i}"
    n_in, n_out = data.work.sizes[0], data.work.sizes[-1]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, n_in])
    y = helper.make_tensor_value_info(value, TensorProto.FLOAT, [1, n_out])
    graph = helper.make_graph(nodes, "network", [x], [y], weights)
    opset = helper.make_opsetid("", 21)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    call = session.run
    by_rows = calls(lambda x: call(None, {"x": x})[0], data.x[:1], data.work.rows)
    return Contestant(**by_rows, version=onnxruntime.__version__)
