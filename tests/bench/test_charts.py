"""Axes have round ticks around their values, and lines are drawn where they belong."""

import xml.etree.ElementTree

import pytest

from octavo.bench.charts import (
    HEIGHT,
    LABEL_HEIGHT,
    Axis,
    Series,
    line_chart,
    linear_axis,
    log_axis,
    name_axis,
)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([3.0, 77.0], [0, 20, 40, 60, 80]),
        ([100.0], [0, 20, 40, 60, 80, 100]),
        ([1001.0], [0, 250, 500, 750, 1000, 1250]),
        ([11.0], [0, 5, 10, 15]),
        ([0.0013], [0, 0.0005, 0.001, 0.0015]),
        ([], [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        ([0.0], [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    ],
)
def test_linear_ticks(values: list[float], ticks: list[float]) -> None:
    axis = linear_axis(values, str)
    assert [tick for tick, _ in axis.ticks] == pytest.approx(ticks)
    assert axis.at(0) == 0 and axis.at(ticks[-1]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.012, 0.3], [0.02, 0.05, 0.1, 0.2]),
        ([0.001, 1.0], [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]),
        ([0.0, 5.0], [5.0]),
    ],
)
def test_logarithmic_ticks(values: list[float], ticks: list[float]) -> None:
    axis = log_axis(values, str)
    found = [tick for tick, _ in axis.ticks]
    assert found == pytest.approx(ticks) or len(found) <= 6
    assert all(0 <= axis.at(value) <= 1 for value in values)


def test_equal_factors_are_equally_far_on_a_logarithmic_axis() -> None:
    axis = Axis(1.0, 100.0, [], is_log=True)
    assert [axis.at(value) for value in (1, 10, 100)] == pytest.approx([0, 0.5, 1])


def test_many_names_are_thinned_out_but_for_the_last() -> None:
    names = [f"{2**i} users" for i in range(20)]
    shown = [label for _, label in name_axis(names).ticks]
    assert len(shown) < 12 and shown[0] == names[0] and shown[-1] == names[-1]
    assert [label for _, label in name_axis(names[:3]).ticks] == names[:3]


def test_a_chart_is_well_formed_and_hides_nothing() -> None:
    y = linear_axis([1.0, 4.0], str)
    series = [Series("<p50>", [(0.0, 1.0, "one"), (1.0, 4.0, "four & more")])]
    svg = line_chart(name_axis(["a", "b"]), y, series, description="x < y", mark=(1.0, "knee"))
    root = xml.etree.ElementTree.fromstring(svg)
    assert [title.text for title in root.iter("title")] == ["<p50>: one", "<p50>: four & more"]
    (line,) = root.iter("polyline")
    (left, top), (right, higher) = (
        [float(v) for v in point.split(",")] for point in line.attrib["points"].split()
    )
    assert left < right and top > higher
    assert any(element.text == "knee" for element in root.iter("text"))


@pytest.mark.parametrize(
    ("values", "place"), [((2.0,), "foot"), ((0.0, 2.0), "head"), ((0.0, 4.0), "between")]
)
def test_the_name_of_a_mark_is_in_no_lines_way(values: tuple[float, ...], place: str) -> None:
    y = linear_axis([4.0], str)
    series = [Series(str(value), [(1.0, value, "")]) for value in values]
    root = xml.etree.ElementTree.fromstring(
        line_chart(name_axis(["a", "b"]), y, series, description="", mark=(1.0, "knee"))
    )
    (name,) = (element for element in root.iter("text") if element.text == "knee")
    top = float(name.attrib["y"])
    assert place == ("foot" if top > HEIGHT * 3 / 4 else "head" if top < HEIGHT / 4 else "between")
    dots = [float(element.attrib["cy"]) for element in root.iter("circle")]
    assert min(abs(top - dot) for dot in dots) >= LABEL_HEIGHT


def test_a_line_without_dots_still_answers_to_hovering() -> None:
    axis = Axis(0.0, 1.0, [])
    svg = line_chart(axis, axis, [Series("a", [(0.5, 0.5, "b")], has_dots=False)], description="")
    assert 'class="dot' not in svg and "<title>a: b</title>" in svg
