"""Architecture strings: each against facts that are known about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archrank.data.tables import keys
from archrank.errors import InputError

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def test_nasbench201_of_the_first_cell() -> None:
    """Digits, tuple and string of index 0, as published."""
    text = (
        "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|"
        "+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    )
    assert keys.nasbench201("(4, 3, 3, 0, 0, 0)") == text
    assert keys.nasbench201_digits("421211") == text


def test_nasbench201_edge_order_differs_between_codes() -> None:
    """The third number of the tuple is edge 0-3; in the string it is the fourth."""
    assert keys.nasbench201("(0, 0, 4, 0, 0, 0)") == keys.nasbench201_digits("111411")
    assert keys.nasbench201("(0, 0, 0, 2, 0, 0)") == keys.nasbench201_digits("113111")


@given(st.lists(st.integers(0, 4), min_size=6, max_size=6))
def test_nasbench201_codes_are_inverses(numbers: list[int]) -> None:
    text = keys.nasbench201(str(tuple(numbers)))
    assert keys.nasbench201_naslib(text) == str(tuple(numbers))
    assert keys.nasbench201_digits(keys.nasbench201_code(text)) == text


def test_nasbench101() -> None:
    text = keys.nasbench101("0110001100010000", "input,conv3x3-bn-relu,conv1x1-bn-relu,output")
    assert text == "0110/0011/0001/0000:conv3x3,conv1x1"
    assert keys.nasbench101("0100", "input,output") == "01/00:"
    with pytest.raises(InputError, match="expected 9"):
        keys.nasbench101("0100", "input,maxpool3x3,output")


def test_nasbench101_tuple() -> None:
    matrix = [0] * 49
    matrix[1] = matrix[9] = matrix[2] = 1  # 0-1, 1-2, 0-2
    code = (*matrix, 0, 4, 1, 0, 0, 0, 0)
    assert keys.nasbench101_tuple(str(code)) == "011/001/000:conv3x3"


def test_nasbench301_of_the_first_row() -> None:
    code = (
        "[[(0, 0), (1, 5), (1, 1), (0, 1), (1, 3), (0, 3), (1, 3), (3, 2)], "
        "[(1, 0), (0, 2), (1, 3), (0, 3), (3, 0), (0, 1), (2, 0), (3, 6)]]"
    )
    assert keys.nasbench301(code) == (
        "normal:|max_pool_3x3~0|dil_conv_3x3~1|+|avg_pool_3x3~0|avg_pool_3x3~1|"
        "+|sep_conv_3x3~0|sep_conv_3x3~1|+|sep_conv_3x3~1|skip_connect~3| "
        "reduce:|skip_connect~0|max_pool_3x3~1|+|sep_conv_3x3~0|sep_conv_3x3~1|"
        "+|avg_pool_3x3~0|max_pool_3x3~3|+|max_pool_3x3~2|dil_conv_5x5~3|"
    )


def test_transnas() -> None:
    assert keys.transnas_micro("(1, 0, 0, 2, 1, 0)") == "64-41414-1_00_210"
    assert keys.transnas_macro("(1, 2, 4, 2, 0, 0)") == "64-1242-basic"
    assert keys.transnas_macro("(1, 2, 1, 1, 1, 3)") == "64-121113-basic"


def test_ofa_ignores_inactive_choices() -> None:
    kernels, other = [3] * 20, [3] * 20
    other[3] = 7  # past the depth of the first stage
    depths = "[2, 2, 2, 2, 4]"
    first = keys.ofa_mobilenetv3(str(kernels), str([6] * 20), depths, 224)
    assert first == keys.ofa_mobilenetv3(str(other), str([6] * 20), depths, "224")
    assert first.count("k3e6") == 12
    assert first.endswith("-k3e6,k3e6,k3e6,k3e6@224")


def test_gpt_and_mnasnet() -> None:
    assert keys.gpt(192, "12,8", "2,3", "False") == "e192-b0-h12m2,h8m3"
    assert keys.mnasnet(*[6, 3, 1, False] * 7) == "-".join(["e6k3l1"] * 7)


def test_nasbench_graph_pads_to_five_digits() -> None:
    assert keys.nasbench_graph(0) == "0,0,0,0:gat,gat,gat,gat"
    assert keys.nasbench_graph(31178) == "0,0,1,2:gcn,gcn,fc,skip"


@pytest.mark.parametrize(
    "code", ["(1, 2", "__import__('os')", "(1, 2, 3)", "(9, 0, 0, 0, 0, 0)", "(True,)*6", ""]
)
def test_what_is_no_code_is_refused(code: str) -> None:
    with pytest.raises(InputError, match="architecture"):
        keys.nasbench201(code)
