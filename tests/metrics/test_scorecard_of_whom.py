"""Whose the scorecard's figures are: models, lanes and apps, in bounded room."""

import pytest

from tests.metrics.machine import Machine, stream


def test_each_app_has_its_own_figures() -> None:
    machine = Machine()
    machine.accept(1, app="editor")
    machine.accept(2, app="mail")
    machine.solo_ms = 4.0
    stream(machine, 1, [4.0, 4.0])
    stream(machine, 2, [8.0])
    machine.end(2, "error")

    apps = machine.read()["apps"]

    assert apps["editor"]["tokens"] == 3
    assert apps["editor"]["running"] == 1
    assert apps["editor"]["p95_over_solo"] == 1.0
    assert apps["mail"]["p95_over_solo"] == 2.0
    assert apps["mail"]["requests"] == 1
    assert (apps["mail"]["running"], apps["mail"]["failed"]) == (0, 1)


def test_models_are_apart_and_the_total_holds_both() -> None:
    machine = Machine()
    machine.accept(1, model="small")
    machine.accept(2, model="large")
    machine.step(model="small", cells_total=100)
    machine.step(model="large", cells_total=1000)
    stream(machine, 1, [2.0])
    stream(machine, 2, [20.0])

    card = machine.read()

    assert card["models"]["small"]["max_ms"] == 2
    assert card["models"]["large"]["max_ms"] == 20
    assert card["max_ms"] == 20
    assert card["kv_cells_total"] == 1100
    assert set(card["models"]["small"]) == set(card) - {"window_s", "models"}


def test_a_moved_request_is_counted_where_it_is_now() -> None:
    machine = Machine()
    machine.accept(1, lane="interactive")
    stream(machine, 1, [5.0])
    machine.card.moved(1, "background")
    machine.wait(500)
    machine.tokens(1)

    card = machine.read()

    assert card["max_ms"] == 5
    assert card["lanes"]["background"]["max_ms"] == 500


def test_an_unloaded_model_leaves() -> None:
    machine = Machine()
    machine.accept(1)
    machine.card.forget("m")
    machine.tokens(1)
    machine.end(1)

    assert machine.read()["models"] == {}


def test_news_of_a_request_that_is_over_changes_nothing() -> None:
    machine = Machine()
    machine.accept(1)
    machine.end(1, "cancelled")
    before = machine.read()

    machine.tokens(1)
    machine.end(1)
    machine.card.paused(1)

    assert machine.read() == before


def test_a_request_handed_to_a_restarted_engine_keeps_its_clock() -> None:
    machine = Machine()
    machine.accept(1)
    stream(machine, 1, [5.0])
    machine.wait(2000)
    machine.accept(1)
    machine.tokens(1)

    card = machine.read()

    assert card["max_ms"] == 2000  # what its reader saw
    assert card["requests"] == 1


@pytest.mark.parametrize("n_apps", [3, 2000])
def test_names_from_clients_take_bounded_room(n_apps: int) -> None:
    machine = Machine()
    for rid in range(n_apps):
        machine.accept(rid, app=f"app-{rid}")

    apps = machine.read()["apps"]

    assert len(apps) <= 1025
    assert sum(app["running"] for app in apps.values()) == n_apps


def test_texts_are_counted_and_those_that_were_not_computed_beside_them() -> None:
    machine = Machine()
    for rid, (texts, cached) in enumerate([(10, 0), (10, 7)]):
        machine.accept(rid)
        machine.card.ended(rid, "stop", machine.now_ns, texts=texts, texts_cached=cached)
    machine.accept(5)
    machine.end(5, "error")

    card = machine.read()

    assert (card["texts_embedded"], card["texts_cached"]) == (20, 7)
    assert card["models"]["m"]["texts_cached"] == 7
    machine.wait(11_000)
    assert machine.read()["texts_embedded"] == 0
