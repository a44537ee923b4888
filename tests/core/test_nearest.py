from octavo.core.nearest import nearest


def test_the_most_alike_or_none() -> None:
    assert nearest("temprature", ["top_p", "temperature", "temper"]) == "temperature"
    assert nearest("xyz", {"temperature": 0}) is None
    assert nearest("/v1/model", iter(["/v1/models"]), similarity=0.99) is None
